"""Low-rank adapters (LoRA): two small matrices beside one of the model's, which is frozen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.product import per_head
from glassformer.model.parts import Lora
from glassformer.ops import Op, Tape
from glassformer.watch.view import Source, View, itself

SAME: Mapping[str, str] = {}


def frozen(name: str) -> str:
    """What a value is called before its adapter has added to it.

    >>> frozen("q")
    'q_frozen'
    """
    return f"{name}_frozen"


class Adapter(nn.Module):
    """x A B alpha / rank, added to x W of a frozen matrix W; A [in, d_lora], B [d_lora, out].

    `weight` is the name of the frozen matrix. `heads`: of how many heads its output is, or for W_O
    its input; `reads` and `writes`: what the axis d_model of x and of the output is called, or the
    axis head. Source: Hu et al. 2022, section 4.1; B starts at zero, so nothing changes at first.
    """

    def __init__(
        self,
        lora: Lora,
        weight: str,
        shape: tuple[int, int],
        heads: int = 0,
        reads: Mapping[str, str] = SAME,
        writes: Mapping[str, str] = SAME,
    ) -> None:
        super().__init__()
        self.scale, self.heads = lora.scale, heads
        self.reads, self.writes = reads, writes
        self.scope = f"lora_{weight.removeprefix('W_')}"
        self.merges = weight == "W_O"
        self.A = nn.Parameter(torch.empty(shape[0], lora.rank))
        self.B = nn.Parameter(torch.empty(lora.rank, shape[1]))

    def forward(
        self, name: str, x: Tensor, unadapted: Tensor, t: Tape
    ) -> Float[Tensor, "batch pos ..."]:
        """The value `name`: what the frozen matrix made of x is `unadapted`."""
        reading, writing = t.at(self.scope).along(self.reads), t.at(self.scope).along(self.writes)
        if self.merges:
            down = reading("down", ops.lora_down_heads, x, self.A, None)
        else:
            down = reading("down", ops.lora_down, x, self.A, None)
        if self.heads and not self.merges:
            up = writing("up", ops.lora_up_heads, down, self.B, None, n_heads=self.heads)
            scaled = writing("scaled", ops.lora_scaled_heads, up, factor=self.scale)
            return t.along(self.writes)(name, ops.lora_add_heads, unadapted, scaled)
        up = writing("up", ops.lora_up, down, self.B, None)
        scaled = writing("scaled", ops.lora_scaled, up, factor=self.scale)
        return t.along(self.writes)(name, ops.lora_add, unadapted, scaled)

    def change(self) -> Float[Tensor, "in out"]:
        """What the adapter adds to the frozen matrix."""
        return self.A @ self.B * self.scale

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        A, B, n = source(self.A), source(self.B), self.heads
        last = self.writes.get("d_model", "d_model")
        if self.merges:
            heads = A.view(n, -1, A.shape[1])
            yield View(f"{scope}{self.scope}.A", heads, ("head", "d_head", "d_lora"))
        else:
            axis = self.reads.get("d_model", "d_model")
            yield View(f"{scope}{self.scope}.A", A, (axis, "d_lora"))
        if n and not self.merges:
            head = self.writes.get("head", "head")
            yield View(f"{scope}{self.scope}.B", per_head(B, n), (head, "d_lora", "d_head"))
        else:
            yield View(f"{scope}{self.scope}.B", B, ("d_lora", last))


def adapter(
    lora: Lora | None,
    weight: str,
    n_in: int,
    n_out: int,
    heads: int = 0,
    reads: Mapping[str, str] = SAME,
    writes: Mapping[str, str] = SAME,
) -> Adapter | None:
    """The adapter of a weight, if it has one."""
    if lora is None or weight not in lora.on:
        return None
    return Adapter(lora, weight, (n_in, n_out), heads, reads, writes)


def product(
    name: str,
    op: Op[[Tensor, Tensor, Tensor | None], Tensor],
    x: Tensor,
    W: Tensor,
    b: Tensor | None,
    beside: Adapter | None,
    t: Tape,
) -> Tensor:
    """The value `name`, x W + b, and what the adapter beside W adds, if there is one."""
    if beside is None:
        return t(name, op, x, W, b)
    adapted: Tensor = beside(name, x, t(frozen(name), op, x, W, b), t)
    return adapted


def freeze(model: nn.Module) -> None:
    """Let no gradient be made for any weight but those of adapters."""
    learned = {id(p) for m in model.modules() if isinstance(m, Adapter) for p in m.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in learned)


def draw_adapter(
    parameter: nn.Parameter, name: str, generator: torch.Generator | None = None
) -> None:
    """The first numbers of an adapter: A uniform within 1 / sqrt(in), as in `peft`; B zero."""
    if name == "B":
        nn.init.zeros_(parameter)
        return
    bound = 1 / math.sqrt(len(parameter))
    nn.init.uniform_(parameter, -bound, bound, generator=generator)
