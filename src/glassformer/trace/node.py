"""A node of a trace: one named value, the op that made it and the addresses of its operands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from glassformer.formula.tree import Formula
from glassformer.ops import edit
from glassformer.ops.op import Role

GRADIENT = "gradient"
"""The op name of every node of the backward pass."""

UNEDITED = "_unedited"
"""What the name of a value as it was computed ends in, where it is edited."""


@dataclass(slots=True, repr=False)
class Node:
    """One recorded value.

    `path` is kind/name. A leaf (weight, token, constant) has no op and no formula. `operands` maps
    the formula's operand names to the paths of the values they were. `value` is None where the
    trace's `keep` left it out; shape and dtype stay known. `role` is what the value is to a reader;
    a leaf has none. `version` is how often a leaf's memory had been written to, so that a later
    change is noticed.
    """

    path: str
    op: str | None
    formula: Formula | None
    operands: dict[str, str]
    params: dict[str, float]
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    value: Tensor | None = field(repr=False)
    role: Role | None = None
    version: int = 0

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in self.__slots__}
        if self.value is not None:  # a copy counts anew how often its memory is written to
            state["version"] -= self.value._version
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, part in state.items():
            setattr(self, name, part)
        if self.value is not None:
            self.version += self.value._version

    def __repr__(self) -> str:
        axes = ", ".join(f"{a}={n}" for a, n in zip(self.axes, self.shape, strict=True))
        made = f" by {self.op}" if self.op else ""
        kept = "" if self.value is not None else ", not kept"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<Node {self.path}[{axes}] {dtype}{made}{kept}>"

    @property
    def kind(self) -> str:
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """The full name without its kind: ``blocks.0.attn.pattern``."""
        return self.path.partition("/")[2]

    @property
    def short(self) -> str:
        """The last part of the name, as the formula's left side: ``pattern``."""
        return self.path.rpartition(".")[2].rpartition("/")[2]

    @property
    def edited(self) -> bool:
        """Whether some of its numbers were changed by hand."""
        return self.op == edit.name

    @property
    def nbytes(self) -> int:
        """Bytes of the whole value, kept or not."""
        count = 1
        for n in self.shape:
            count *= n
        return count * self.dtype.itemsize
