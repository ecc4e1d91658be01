"""Number by number: copied, added, multiplied."""

from __future__ import annotations

from glassformer.kernels import elementwise as kernels
from glassformer.ops.op import template

copy = template("copy", "y[*A] = x[*A]", "x", kernels.copy, role="copy")

add_to = template("add_to", "y[*B, *A] = x[*B, *A] + more[*A]", "x more", kernels.add)

multiply = template("multiply", "y[*B, *A] = x[*B, *A] * factor[*A]", "x factor", kernels.multiply)

scale_by = template("scale_by", "y[*A] = x[*A] * factor", "x", kernels.scale)

level_off = template("level_off", "y[*A] = cap * tanh(x[*A] / cap)", "x", kernels.level_off)
