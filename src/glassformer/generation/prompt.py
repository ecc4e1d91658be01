"""Whether a model can go on from a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from glassformer.errors import GlassformerError
from glassformer.model.ids import refuse_outside
from glassformer.model.kinds import AnyModel


class PromptTooLongError(GlassformerError):
    """A prompt of more tokens than the model reads."""


def check_prompt(model: AnyModel, ids: Sequence[int]) -> None:
    """Raise if a text can't be continued: empty, too long, or with ids the model does not know."""
    config = model.config
    if not ids:
        raise GlassformerError(
            "the prompt has no tokens, and the model can only go on from one; give it some text"
        )
    if len(ids) > config.n_ctx:
        raise PromptTooLongError(
            f"the prompt has {len(ids):,} tokens and the model reads at most"
            f" n_ctx={config.n_ctx:,}; shorten it by {len(ids) - config.n_ctx:,}"
        )
    if min(ids) < 0 or max(ids) >= config.vocab_size:
        refuse_outside(torch.tensor(ids), config.vocab_size)
