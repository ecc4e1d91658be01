"""The residual stream: carried along, added to, and dropped out of."""

from __future__ import annotations

from glassformer.kernels import elementwise as kernels
from glassformer.ops.elementwise import add_to, copy, scale_by
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

scale_branch = scale_by.over(
    "scale_branch",
    "scaled",
    {"B": "batch pos d_model", "A": ""},
    {"x": "branch"},
    numbers={"factor": "factor"},
    summary="What the branch adds is multiplied by a constant of the model's own.",
)

dropout = op(
    "dropout",
    (
        "out[batch, pos, d_model] = x[batch, pos, d_model] * kept[batch, pos, d_model] / (1 - p)",
        "kept[batch, pos, d_model] = drawn",
    ),
    "x",
    kernels.dropout,
    summary="In training, some numbers are set to zero at random and the others scaled up.",
    source="Srivastava et al. 2014",
)
