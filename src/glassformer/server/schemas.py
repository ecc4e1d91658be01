"""What goes in and comes out of the API, as OpenAPI describes it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from glassformer.generation.sampling import Sampling

PROMPT_CHARACTERS = 100_000
TEXT_CHARACTERS = 1_000_000
TRAINING_STEPS = 5_000


def _integer(value: Any) -> Any:
    """16.0 is an integer in JSON; true is none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "Input should be a finite number")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Integer = BeforeValidator(_integer)
Count = Annotated[int, Field(ge=0, le=2**53), Integer]
Text = Annotated[str, Field(max_length=PROMPT_CHARACTERS, examples=["the cat sat on"])]
RunId = Annotated[
    str,
    Field(max_length=200, description="A run's id, from /api/runs.", examples=["miniature"]),
]
Numbers = Annotated[
    str, Field(max_length=120, pattern=r"^([0-9]{1,12}(,[0-9]{1,12}){0,7})?$", examples=["0,5"])
]
AddressText = Annotated[str, Field(max_length=500, examples=["fwd/blocks.0.attn.pattern[head=0]"])]


class Input(BaseModel):
    """What is asked for: a field of another type, or one that nobody knows, is refused."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,  # where an answer repeats it
    )


class Output(BaseModel):
    """An answer, or a part of one: every field is always there."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


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
    repetition_penalty: Annotated[float, Field(gt=0, le=1e6)] = 1.0
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
    ] = []
    float64: bool = False


class TraceOrigin(Input):
    """Which model a trace is of: a run, at a step of its training, with values or weights edited.

    An edited pass has no optimizer's step.
    """

    run: RunId
    at_step: Count | None = None
    edits: Annotated[dict[AddressText, float | Patch], Field(max_length=1000)] = {}


class TraceRequest(TraceOptions, TraceOrigin):
    """A prompt to record, of a model."""


class TokenizeRequest(Input):
    run: RunId
    text: Text


class TrainingRequest(Input):
    """A small run from pasted text; without one, on Storyland."""

    text: Annotated[str, Field(max_length=TEXT_CHARACTERS)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    steps: Annotated[int, Field(ge=1, le=TRAINING_STEPS), Integer] | None = None
    preset: Literal["text", "fast", "classic", "storyland"] | None = None


class BiographyRequest(Input):
    """`since`: the saved step from which training is made again, up to the next saved one.

    null: where the number moved most per update; the answer then has all saved values, and says
    where the other stretches begin.
    """

    run: RunId
    address: AddressText
    prompt: Text | None = None
    since: Count | None = None


class NeighborsRequest(Input):
    """The tokens nearest to one; with minus and plus, to token - minus + plus."""

    run: RunId
    token: Annotated[Count, Field(examples=[1])]
    count: Annotated[int, Field(ge=1, le=1000), Integer] = 10
    minus: Count | None = None
    plus: Count | None = None


class ErrorDetail(BaseModel):
    message: str = Field(description="One line: fact, cause, fix.")
    code: str


class Error(Output):
    error: ErrorDetail


class RunSummary(Output):
    id: str
    name: str
    parameters: int
    steps_done: int | None
    steps_left: int | None = Field(
        description="Steps that the run's recipe still plans; null for what was not trained here."
    )
    loss: float | None


class RunList(Output):
    runs: list[RunSummary]


class Weight(Output):
    name: str
    axes: list[str]
    shape: list[int]
    parameters: int
    share: float


class TokenizerInfo(Output):
    """What a notebook's trace does not know of its tokenizer is null."""

    kind: str
    vocab_size: int | None = None
    fingerprint: str | None = None
    eos: int | None = None


class FolderSampling(Output):
    """How a folder's generation_config.json asks for tokens to be chosen; null: it does not say."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class RunInfo(RunSummary):
    kind: Literal["run", "folder", "preset"]
    path: str | None
    config: dict[str, Any]
    n_ctx: int
    vocab_size: int
    tied: bool
    weights: list[Weight]
    tokenizer: TokenizerInfo
    snapshots: list[int]
    floor: float | None
    suggested_prompt: str
    suggested_target: str | None
    examples: list[str] = Field(description="Prompts that suit the model, the best first.")
    recipe: dict[str, Any] | None
    sampling: FolderSampling


class MetricsRow(Output):
    step: int
    loss: float | None = None
    held_out: float | None = None
    whole_text: float | None = None
    tokens_per_second: float | None = None


class Metrics(Output):
    """Losses by step; the floor, and the losses of two guesses that need no model, where known."""

    rows: list[MetricsRow]
    floor: float | None = None
    unigram_loss: float | None = None
    uniform_loss: float | None = None


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


class Pair(Output):
    left: str
    right: str
    rank: int | None


class TextStep(Output):
    op: Literal["split", "merge", "look up"]
    word: int | None
    pieces: list[str]
    merge: Pair | None
    considered: list[Pair]
    ids: list[int]


class Token(Output):
    id: int
    token: str
    bytes: list[int]
    text: str


class TokenizedText(Output):
    text: str
    steps: list[TextStep]
    tokens: list[Token]


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


class Point(Output):
    step: int
    value: float


class Moved(Output):
    """The update of the stretch that moved it most, and the blocks of text it was made with."""

    from_: float = Field(serialization_alias="from")
    to: float
    step: int
    change: float
    batch: list[str]


class Biography(Output):
    address: str
    points: list[Point]
    moved: Moved
    since: int = Field(description="The stretch that was made again: after this step,")
    until: int = Field(description="up to this one.")
    others: list[int] = Field(description="Where the others begin, most movement first.")


class Neighbor(Output):
    """cosine = dot / (length * that of the vector asked about), in float64."""

    id: int
    token: str
    cosine: float
    dot: float
    length: float


class Neighbors(Output):
    rows: list[Neighbor]


class PackedTrace(Output):
    """A trace as it stands in a page: both its files, compressed, in base64."""

    about: TraceAbout
    table: str
    values: str


class PackedModel(Output):
    """A model that a page runs itself; what is packed is so by `server.packing`."""

    plan: str = Field(description="The plan of a pass with one update (`trace.plan`), packed JSON.")
    choices: str = Field(
        description="The plan of a choice for every kind of settings, by those that do something"
        " (`greedy penalty`), packed JSON."
    )
    stored: str = Field(
        description="The plan's weights and the optimizer's state, in its order, as float32: first"
        " the lowest byte of every number, then the next, packed."
    )
    done: int = Field(description="After how many updates the weights are these.")
    lr: float = Field(description="The learning rate of the plan's update.")
    snapshots: dict[int, str] = Field(description="Step to the weights then, packed alike.")
    tokenizer: dict[str, Any] = Field(description="The content of its tokenizer.json.")
    begin: list[int] = Field(description="Tokens that stand before every text.")
    ignored: int = Field(description="The target of a position at which nothing is asked.")


class Opening(Output):
    """What a page opens with."""

    run: str
    prompt: str
    target: str | None
    at_step: int | None


class PageData(Output):
    """What a page without a server shows."""

    format: Literal["glassformer-page"] = "glassformer-page"
    version: Literal[1] = 1
    runs: list[RunInfo]
    traces: list[PackedTrace] = []
    models: dict[str, PackedModel] = {}
    first: Opening
    metrics: dict[str, str] = Field(default={}, description="Of each run its Metrics, packed JSON.")
    texts: dict[str, list[TokenizedText]] = {}
    made: dict[str, str]
