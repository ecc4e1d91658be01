"""The residual stream: carried along, added to, and dropped out of."""

from __future__ import annotations

import torch

from glassformer.ops.elementwise import add_to, copy
from glassformer.ops.op import op

carry = copy.over(
    "carry",
    "out",
    {"A": "batch pos d_model"},
    summary="The residual stream is handed on unchanged.",
)

add = add_to.over(
    "add",
    "out",
    {"B": "", "A": "batch pos d_model"},
    {"x": "residual", "more": "branch"},
    summary="The branch's output is added back to the residual stream.",
    source="He et al. 2016, eq. 1",
    role="stream",
)

dropout = op(
    "dropout",
    (
        "out[batch, pos, d_model] = x[batch, pos, d_model] * kept[batch, pos, d_model] / (1 - p)",
        "kept[batch, pos, d_model] = drawn",
    ),
    "x",
    # native_dropout hands out its mask, so a watched pass can be replayed
    lambda x, p: torch.native_dropout(x, p, True),
    summary="In training, some numbers are set to zero at random and the others scaled up.",
    source="Srivastava et al. 2014",
)
