"""Annotations of arguments, shapes and fields are enforced while testing."""

import pytest
import torch
from jaxtyping import TypeCheckError

from glassformer.errors import did_you_mean
from glassformer.lab.changes import Shift
from glassformer.model import Config, Decoder
from glassformer.trace import SILENT


def test_annotations_shapes_and_fields_are_enforced_while_testing():
    with pytest.raises(TypeCheckError):
        did_you_mean(2, ["gpt2"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeCheckError):
        Shift("mat", "mat", 0.25, 0.5)  # pyright: ignore[reportArgumentType]
    model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
    model.blocks[0](torch.zeros(1, 2, 6), SILENT)
    for wrong in (torch.zeros(6), torch.zeros(1, 2, 6, dtype=torch.int64)):
        with pytest.raises(TypeCheckError, match="batch pos d_model"):
            model.blocks[0](wrong, SILENT)
