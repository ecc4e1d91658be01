"""Questions to a model and its training: the ids of a text, nearest tokens, a number by step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glassformer.server.schemas.base import AddressText, Count, Input, Integer, Output, RunId, Text


class TokenizeRequest(Input):
    run: RunId
    text: Text


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


class BiographyRequest(Input):
    """`since`: the saved step from which training is made again, up to the next saved one.

    null: where the number moved most per update; the answer then has all saved values, and says
    where the other stretches begin.
    """

    run: RunId
    address: AddressText
    prompt: Text | None = None
    since: Count | None = None


class Point(Output):
    step: int
    value: float


class Part(Output):
    """Letters of a text that was learned from."""

    text: str
    asked: bool = Field(description="Whether the loss asks for its tokens; else they are masked.")


class Moved(Output):
    """The update of the stretch that moved it most, and the blocks of text it was made with."""

    from_: float = Field(serialization_alias="from")
    to: float
    step: int
    change: float
    batch: list[list[Part]]


class Biography(Output):
    address: str
    points: list[Point]
    moved: Moved
    since: int = Field(description="The stretch that was made again: after this step,")
    until: int = Field(description="up to this one.")
    others: list[int] = Field(description="Where the others begin, most movement first.")


class NeighborsRequest(Input):
    """The tokens nearest to one; with minus and plus, to token - minus + plus."""

    run: RunId
    token: Annotated[Count, Field(examples=[1])]
    count: Annotated[int, Field(ge=1, le=1000), Integer] = 10
    minus: Count | None = None
    plus: Count | None = None


class Neighbor(Output):
    """cosine = dot / (length * that of the vector asked about), in float64."""

    id: int
    token: str
    cosine: float
    dot: float
    length: float


class Neighbors(Output):
    rows: list[Neighbor]
