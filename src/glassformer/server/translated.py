"""A prompt as an encoder-decoder has it: the source, and the model's own translation of it."""

from __future__ import annotations

from typing import Any

import torch

from glassformer.errors import GlassformerError
from glassformer.ops import IGNORED
from glassformer.training.train_state import TrainState
from glassformer.training.translation import greedy


def translated(
    state: TrainState, prompt: str, target: int | None
) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    """What the decoder reads, what is asked after each of its tokens [1, pos], and the source.

    The translation is the likeliest word each time; after its last token the end is asked for, or
    `target`.
    """
    model: Any = state.model
    tokenizer = state.tokenizer
    source = tokenizer.encode_source(prompt)
    longest = model.config.encoder.n_ctx
    if not tokenizer.encode(prompt) or len(source) > longest:
        raise GlassformerError(
            f"{prompt!r} has {len(source):,} tokens with the end, and this model reads 2 to"
            f" {longest:,}; give another sentence"
        )
    ids = torch.tensor([source], device=next(model.parameters()).device)
    [written] = greedy(model, ids, tokenizer.eos_id)
    end = tokenizer.eos_id if target is None else target
    asked = [*written, IGNORED if end is None else end]
    return [model.config.start_id, *written], torch.tensor([asked]), ids
