"""Number by number: copied, added, multiplied."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from glassformer.kernels import elementwise as kernels
from glassformer.ops.op import Composite, Op, Tape, composite, op, template
from glassformer.ops.rows import row_divide

copy = template("copy", "y[*A] = x[*A]", "x", kernels.copy, role="copy")

add_to = template("add_to", "y[*B, *A] = x[*B, *A] + more[*A]", "x more", kernels.add)

multiply = template("multiply", "y[*B, *A] = x[*B, *A] * factor[*A]", "x factor", kernels.multiply)

scale_by = multiply.using(kernels.scale)

square = multiply.using(kernels.square)
"""With one operand as both."""

where_above = template(
    "where_above",
    "y[*A] = select(x[*A] > limit[*A], above[*A], below[*A])",
    "x limit above below",
    kernels.where_above,
)

squash = template("squash", "y[*A] = tanh(x[*A])", "x", kernels.tanh)


edit = op(
    "edit",
    "value[element] = select(edited[element] == 1, new[element], computed[element])",
    "edited new computed",
    kernels.put,
    summary="Changed by hand: the new number where it was edited, the computed one elsewhere.",
)
"""What an edit of any value is; `formula.template.over` writes it out for the value's own axes."""


class Cap(NamedTuple):
    """Numbers that level off smoothly, cap * tanh(x / cap), and the steps to it."""

    fused: Composite[..., Tensor]
    ratio: Op[..., Tensor]
    tanh: Op[..., Tensor]
    back: Op[..., Tensor]


def cap_over(prefix: str, axes: str, x: str, output: str) -> Cap:
    """The cap of scores over some axes; Gemma Team 2024, section 2."""
    source = "Gemma Team 2024, section 2"
    ratio = row_divide.using(kernels.divide).over(
        f"{prefix}_ratio",
        f"{prefix}_ratio",
        {"B": "", "A": axes},
        {"x": x},
        numbers={"row": "cap"},
        summary="Divided by the cap.",
        source=source,
        role="intermediate",
    )
    tanh = squash.over(
        f"{prefix}_tanh",
        f"{prefix}_tanh",
        {"A": axes},
        {"x": f"{prefix}_ratio"},
        summary="Squeezed between -1 and 1.",
        source=source,
        role="intermediate",
    )
    back = scale_by.over(
        f"{prefix}_capped",
        output,
        {"B": axes, "A": ""},
        {"x": f"{prefix}_tanh"},
        numbers={"factor": "factor"},
        summary="Times the cap: small ones are nearly as they were, none is larger than the cap.",
        source=source,
        role="score",
    )

    def steps(t: Tape, name: str, x: Tensor, cap: float) -> Tensor:
        squeezed = t(f"{prefix}_tanh", tanh, t(f"{prefix}_ratio", ratio, x, cap=cap))
        return t(name, back, squeezed, factor=cap)

    fused = composite(
        f"cap_{prefix}",
        kernels.level_off,
        steps,
        summary="They level off smoothly towards the cap, so that none can outgrow the others.",
        source=source,
    )
    return Cap(fused, ratio, tanh, back)
