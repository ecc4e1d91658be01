"""What training says as it goes: a row for each thing measured, a line of metrics.jsonl."""

from __future__ import annotations

from typing import Annotated, Literal, Required

from pydantic import Field, with_config
from typing_extensions import TypedDict

from glassformer.jsons import OPEN, Count

Measured = Annotated[float, Field(allow_inf_nan=True)]
"""A number that training measured; one that overflowed says so."""

Loss = Literal["loss", "val_loss", "text_loss", "floor", "unigram_loss", "uniform_loss"]
"""The fields of a row that are losses, in nats."""

ByLayer = dict[str, Measured]


@with_config(OPEN)
class Health(TypedDict, total=False):
    grad_norm: ByLayer
    update_to_weight: ByLayer
    dead_units: ByLayer


@with_config(OPEN)
class Row(TypedDict, total=False):
    """The schema of a line of metrics.jsonl: what was measured at a step; losses in nats."""

    step: Required[Count]
    loss: Measured
    lr: Measured
    grad_norm: Measured
    tokens_per_second: Measured
    seconds: Measured
    val_loss: Measured
    text_loss: Measured
    floor: Measured
    eval_seconds: Measured
    uniform_loss: Measured
    unigram_loss: Measured
    health: Health
    sample: str
    note: str
    checkpoint_seconds: Measured
    snapshot_seconds: Measured
