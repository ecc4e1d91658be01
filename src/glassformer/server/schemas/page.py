"""What a page without a server holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from glassformer.course.lesson import Course
from glassformer.server.schemas.base import Output
from glassformer.server.schemas.lab import TokenizedText
from glassformer.server.schemas.runs import RunInfo
from glassformer.server.schemas.traces import TraceAbout


class PackedTrace(Output):
    """A trace as it stands in a page: both its files, compressed, in base64."""

    about: TraceAbout
    table: str
    values: str


class PackedSnapshots(Output):
    """A training's earlier weights, on a grid, each as its difference from the next one's.

    A weight is its grid's multiple; of the last snapshot the difference is from the weights that
    the page opens with, on the same grid (halves go up). Differences 0, -1, 1, -2, ... are packed
    words 0, 1, 2, 3, ...
    """

    steps: dict[int, str]
    grids: list[float] = Field(description="Of every weight in the plan's order: a power of two.")
    grid: int = Field(description="A grid is at most this part of its tensor's spread.")
    moved: float = Field(
        description="The largest change of a probability that rounding makes after the page's text."
    )


class PackedReading(Output):
    """How a model with an encoder reads: a text with blanks, or the source of a translation."""

    after: list[int] = Field(description="Tokens that stand after every text.")
    mask: int | None = Field(description="The token that hides another one.")
    masks: list[str] = Field(description="How a text may write that token.")
    start: int | None = Field(description="What a translation begins with; null: there is none.")
    end: int | None = Field(description="What a translation ends with.")
    source_n_ctx: int | None = Field(description="How many tokens of a source are read at most.")


class PackedModel(Output):
    """A model that a page runs itself; what is packed is so by `server.packing`."""

    plan: str = Field(description="The plan of a pass with one update (`trace.plan`), packed JSON.")
    descent: str = Field(
        description="The nodes of a step of plain gradient descent at learning rate 1, instead of"
        " the plan's update, packed JSON."
    )
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
    snapshots: PackedSnapshots | None = None
    tokenizer: dict[str, Any] = Field(description="The content of its tokenizer.json.")
    begin: list[int] = Field(description="Tokens that stand before every text.")
    ignored: int = Field(description="The target of a position at which nothing is asked.")
    reads: PackedReading | None = Field(description="Null: a decoder, which goes on with a text.")


class PackedSeedling(Output):
    """A small model that a page makes anew for a pasted text: any size of the axis `vocab` fits."""

    run: RunInfo
    model: PackedModel
    deviations: list[float] = Field(
        description="Of every weight in the plan's order how widely new numbers are drawn, normally"
        " about 0; 0: it keeps the one number that is stored."
    )


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
    traces: list[PackedTrace] = Field(default=[])
    models: dict[str, PackedModel] = Field(default={})
    seedling: PackedSeedling | None = None
    first: Opening
    metrics: dict[str, str] = Field(default={}, description="Of each run its Metrics, packed JSON.")
    texts: dict[str, list[TokenizedText]] = Field(default={})
    recorded: str | None = Field(
        default=None, description="Why it holds recorded numbers of a model that it can't run."
    )
    course: Course | None = None
    glossary: dict[str, str] = Field(default={}, description="Terms and what they mean.")
    made: dict[str, str]
