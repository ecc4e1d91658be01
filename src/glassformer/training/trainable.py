"""Which models training can change."""

from __future__ import annotations

from glassformer.errors import GlassformerError
from glassformer.model import Config, TowersConfig


def check_trainable(config: Config | TowersConfig) -> None:
    """Refuse a model through which no gradient goes.

    Its weights behind the step could still be trained; those before it, never.
    """
    towers = (config.encoder, config.decoder) if isinstance(config, TowersConfig) else (config,)
    if any(tower.activation == "step" for tower in towers):
        raise GlassformerError(
            "a model with activation='step' can't be trained: the slope of a step is 0, so the"
            " gradient of every weight before it is 0 and they never move; take sigmoid, tanh,"
            " relu or gelu"
        )
