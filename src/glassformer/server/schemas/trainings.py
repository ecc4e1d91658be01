"""A training that is started from the page, and what it tells while it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from glassformer.server.schemas.base import Input, Integer, Output

TEXT_CHARACTERS = 1_000_000
TRAINING_STEPS = 5_000


class TrainingRequest(Input):
    """A small run from pasted text; without one, on Storyland."""

    text: Annotated[str, Field(max_length=TEXT_CHARACTERS)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    steps: Annotated[int, Field(ge=1, le=TRAINING_STEPS), Integer] | None = None
    preset: Literal["text", "fast", "classic", "storyland"] | None = None


class Training(Output):
    id: str
    run: str
    chosen: str | None = Field(None, description="The sizes and steps, where the text decided.")


class Progress(Output):
    """Where a training is; `measured`: whether this event tells `held_out` or `whole_text`."""

    kind: Literal["progress"] = "progress"
    step: int
    steps: int
    loss: float | None = None
    held_out: float | None = None
    whole_text: float | None = None
    measured: bool = False
    floor: float | None = None
    tokens_per_second: float | None = None


class Sample(Output):
    """What the model wrote after a step."""

    kind: Literal["sample"] = "sample"
    step: int
    text: str


class Done(Output):
    kind: Literal["done"] = "done"
    run: str
    reason: Literal["finished", "stopped"]


class Failed(Output):
    kind: Literal["failed"] = "failed"
    message: str


TrainingEvent = TypeAliasType(
    "TrainingEvent", Annotated[Progress | Sample | Done | Failed, Field(discriminator="kind")]
)
