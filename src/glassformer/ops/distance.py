"""What is added to a score by how far the key is from the query: a slope, or a learned number."""

from __future__ import annotations

from glassformer.kernels import attention as kernels
from glassformer.kernels import positions
from glassformer.ops.elementwise import add_to
from glassformer.ops.embedding import look_up
from glassformer.ops.mask import SCORES
from glassformer.ops.op import op

_SLOPE = (
    "select(head < even, 2 ** (-8 * (head + 1) / even), 2 ** (-4 * (2 * (head - even) + 1) / even))"
)

slope_scores, rounded_slope_scores = (
    add_to.using(kernels.slope_scores).over(
        name,
        "scores_biased",
        {"B": SCORES, "A": ""},
        {"x": "scores_scaled"},
        numbers={"more": more},
        summary="Later keys score higher, by a slope of each head's own: a penalty for the"
        f" distance, as only differences count{rounded}.",
        source=f"Press et al. 2022, section 3{source}",
        role="score",
    )
    for name, more, rounded, source in (
        ("slope_scores", f"key * {_SLOPE}", "", ""),
        (
            "rounded_slope_scores",
            f"bf16(bf16({_SLOPE}) * bf16(key)) / sqrt(d_head)",
            ", rounded to bfloat16 and divided as the scores are",
            "; Falcon's own code for the rounding",
        ),
    )
)

_DISTANCE = (
    "select(half > 0, abs(key - position[query]),"
    " select(key < position[query], position[query] - key, 0))"
)

distance_buckets = op(
    "distance_buckets",
    f"bucket[query, key] = select(key > position[query], half, 0) + select({_DISTANCE} < exact,"
    f" {_DISTANCE}, select({_DISTANCE} < far, exact + log(select({_DISTANCE} < exact, exact,"
    f" {_DISTANCE}) / exact) / log(far / exact) * (last + 1 - exact) // 1, last))",
    "position",
    positions.distance_buckets,
    summary="Near distances have a bucket each, farther ones share one, the more the farther.",
    source="Raffel et al. 2020, section 2.1",
    role="intermediate",
)

embed_distances = look_up.over(
    "embed_distances",
    "pos_bias",
    {"B": "query key", "O": "head"},
    {"W": "W_rel", "ids": "bucket"},
    summary="The distance from query to key picks a row of the table: a number for every head.",
    source="Raffel et al. 2020, section 2.1",
    role="score",
)

bias_scores = add_to.using(kernels.add_bias).over(
    "bias_scores",
    "scores_biased",
    {"B": "batch", "A": "head query key"},
    {"x": "scores_scaled", "more": "pos_bias[query, key, head]"},
    summary="Each head adds its number for the distance to the score.",
    source="Raffel et al. 2020, section 2.1",
    role="score",
)
