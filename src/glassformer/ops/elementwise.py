"""Number by number: copied, added, multiplied."""

from __future__ import annotations

import torch

from glassformer.ops.op import template

copy = template("copy", "y[*A] = x[*A]", "x", lambda x: x, role="copy")

add_to = template("add_to", "y[*B, *A] = x[*B, *A] + more[*A]", "x more", torch.add)

multiply = template("multiply", "y[*B, *A] = x[*B, *A] * factor[*A]", "x factor", torch.mul)
