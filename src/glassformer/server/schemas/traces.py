"""What a trace is asked for, and what is asked of a trace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from glassformer.generation.sampling import LEAST_PENALTY, MOST_PENALTY, Sampling
from glassformer.server.schemas.base import (
    PROMPT_CHARACTERS,
    AddressText,
    Count,
    Input,
    Integer,
    Output,
    RunId,
    Text,
)

Numbers = Annotated[
    str, Field(max_length=120, pattern=r"^([0-9]{1,12}(,[0-9]{1,12}){0,7})?$", examples=["0,5"])
]


class Patch(Input):
    """A value as it was in another trace."""

    trace: Annotated[str, Field(max_length=100)]
    address: AddressText


class SamplingOptions(Input):
    """How the next token is chosen; temperature 0 takes the most probable one."""

    temperature: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    top_k: Annotated[int, Field(ge=1, le=2**31), Integer] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=LEAST_PENALTY, le=MOST_PENALTY)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**53), Integer] = 0
    index: Annotated[
        int, Field(ge=0, le=2**31, description="Which of the new tokens it is, from 0."), Integer
    ] = 0

    @property
    def settings(self) -> Sampling:
        """Without the seed and the index."""
        return Sampling(**self.model_dump(exclude={"seed", "index"}))


class TraceOptions(Input):
    """What to record of a prompt.

    backward, optimizer and lens (what the model would say after every addition to the residual
    stream): null (the default) records them while the trace stays light, below 300 MB of values, 12
    MB of them the lens; true insists. The loss asks for the text's own next tokens and, at the last
    position, for `target` where it is given. Without `sampling` the next token is the most
    probable one.
    """

    prompt: Text
    target: Annotated[str, Field(max_length=1000)] | None = None
    backward: bool | None = None
    optimizer: bool | None = None
    lens: bool | None = None
    sampling: SamplingOptions | None = None
    added: Annotated[
        list[Count],
        Field(
            max_length=PROMPT_CHARACTERS,
            description="Ids of tokens that were drawn after the prompt, such as a part of a"
            " character, which no text spells.",
        ),
    ] = Field(default=[])
    written: Annotated[
        list[Count] | None,
        Field(
            max_length=PROMPT_CHARACTERS,
            description="Of an encoder-decoder, whose source the prompt is: ids of the target so"
            " far; null: its own translation, the likeliest token each time.",
        ),
    ] = None
    float64: bool = False


class TraceOrigin(Input):
    """Which model a trace is of: a run, at a step of its training, with values or weights edited.

    An edited pass has no optimizer's step.
    """

    run: RunId
    at_step: Count | None = None
    edits: Annotated[dict[AddressText, float | Patch], Field(max_length=1000)] = Field(default={})


class TraceRequest(TraceOptions, TraceOrigin):
    """A prompt to record, of a model."""


class Chosen(Output):
    id: int
    token: str


class TraceAbout(Output):
    id: str
    run: str
    prompt: str = Field(description="The text, with that of the added tokens.")
    added: list[int]
    ids: list[int]
    tokens: list[str]
    target: str | None
    backward: bool
    optimizer: bool
    at_step: int | None
    edits: dict[str, float | Patch]
    sampling: SamplingOptions | None
    chosen: Chosen | None
    nbytes: int
    precision: str = Field(description="What it was computed in.", examples=["float32"])


class Difference(Output):
    """The slope of the loss from nudging one number, in float64, beside the recorded gradient."""

    value: float
    error: float
    step: float
    gradient: float


class Bin(Output):
    """How many numbers lie in [from, to)."""

    from_: float = Field(serialization_alias="from")
    to: float
    count: int


class Counts(Output):
    """The finite numbers of a value, counted in float64.

    spread: standard deviation, divided by n. largest: the row-major place of the number of largest
    magnitude. bins: symmetric about zero.
    """

    mean: float
    spread: float
    largest: int
    finite: int
    bins: list[Bin]


class EarlyGuess(Output):
    """What the model would say at a point of the stream: a token and its probability."""

    point: str
    token: int
    prob: float


class EarlyGuesses(Output):
    """The logit lens after one token, from the start of the stream to its end."""

    guesses: list[EarlyGuess]


class Share(Output):
    """What one part of the model wrote towards a token, in logits; `address` is what it wrote."""

    part: str
    logits: float
    address: str


class Attribution(Output):
    """A logit as the sum of what each part wrote, as `lab.attribution` says it.

    total: the sum of the shares. logit: the recorded number at `address`.
    """

    token: int
    pos: int
    shares: list[Share]
    total: float
    logit: float
    address: str


class Change(Output):
    """How far a value moved from one trace to another, subtracted in float64.

    largest: the change of the number that changed most, found at `address`. relative: the length
    of the change over the length of the value before; null where that is 0. numbers: how many
    changed, of `of`.
    """

    path: str
    largest: float | None
    address: str
    relative: float | None
    numbers: int
    of: int
    edited: bool
