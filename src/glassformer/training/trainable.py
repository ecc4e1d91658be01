"""Which models training can change, and which of their weights."""

from __future__ import annotations

from torch import nn

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model import Config, TowersConfig
from glassformer.ops import ACTIVATIONS

STEP = "step"
TRAINABLE = tuple(name for name in ACTIVATIONS if name != STEP)
"""Activation functions that a gradient goes through."""

HEAD = "unembed"


def check_trainable(config: Config | TowersConfig) -> None:
    """Refuse a model through which no gradient goes.

    Its weights behind the step could still be trained; those before it, never.
    """
    towers = (config.encoder, config.decoder) if isinstance(config, TowersConfig) else (config,)
    if any(tower.activation == STEP for tower in towers):
        raise GlassformerError(
            "a model with activation='step' can't be trained: the slope of a step is 0, so the"
            " gradient of every weight before it is 0 and they never move; take another, of"
            f" {', '.join(TRAINABLE)}"
        )


def train_only(model: nn.Module, parts: tuple[str, ...]) -> None:
    """Let training change the weights of these parts alone, such as `unembed`; none: all weights.

    Errors: a part that the model does not have, or that is stored together with another.
    """
    if not parts:
        return
    stored = dict(model.named_parameters())
    for part in parts:
        if not any(_is_in(name, part) for name in stored):
            raise GlassformerError(_no_such_part(part, stored))
    for name, parameter in stored.items():
        parameter.requires_grad_(any(_is_in(name, part) for part in parts))


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _no_such_part(part: str, stored: dict[str, nn.Parameter]) -> str:
    if part == HEAD and "embed.W_E" in stored:
        return (
            "the output head of this model is its embedding table turned over (tied), so it can't"
            " be trained alone; --only embed trains both"
        )
    modules = {name.rpartition(".")[0] for name in stored}
    ends = dict.fromkeys(name for name in sorted(modules) if "blocks." not in name)
    inside = sorted({name.partition("blocks.0.")[2].partition(".")[0] for name in modules} - {""})
    blocks = [f"blocks.N.{name}" for name in inside]
    parts = [*ends, *blocks]
    return (
        f"--only {part!r} is no part of this model.{did_you_mean(part, parts)} Its parts are"
        f" {', '.join(parts)}"
    )
