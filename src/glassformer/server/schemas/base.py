"""What every model of the API is made of: inputs that refuse, outputs that are whole."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

PROMPT_CHARACTERS = 100_000


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


class ErrorDetail(BaseModel):
    message: str = Field(description="One line: fact, cause, fix.")
    type: str
    param: str | None = Field(description="The field that it is about.")
    code: str


class Error(Output):
    error: ErrorDetail
