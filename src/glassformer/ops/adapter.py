"""Low-rank adaptation (LoRA): beside a frozen matrix two small ones, of which alone is learned.

Source: Hu et al. 2022, section 4.1. Their W x + B A x is our x W + (x A) B; their r is the axis
d_lora. Over other axes than d_model the same ops run on a tape whose axes are renamed.
"""

from __future__ import annotations

from glassformer.kernels import product
from glassformer.ops.elementwise import add_to, scale_by
from glassformer.ops.linear import linear

LORA = "Hu et al. 2022, section 4.1"
_VECTOR, _HEADS = "batch pos d_model", "batch pos head d_head"

lora_down = linear.over(
    "lora_down",
    "down",
    {"B": "batch pos", "I": "d_model", "O": "d_lora"},
    {"W": "A"},
    without="b",
    summary="The adapter reads the vector through its first matrix, into a few numbers.",
    source=LORA,
)

lora_down_heads = linear.using(product.merge_heads, product.bind_merge_heads).over(
    "lora_down_heads",
    "down",
    {"B": "batch pos", "I": "head d_head", "O": "d_lora"},
    {"x": "z", "W": "A"},
    without="b",
    summary="The adapter reads the heads' mixes through its first matrix, into a few numbers.",
    source=LORA,
)

lora_up = linear.over(
    "lora_up",
    "up",
    {"B": "batch pos", "I": "d_lora", "O": "d_model"},
    {"x": "down", "W": "B"},
    without="b",
    summary="The adapter's second matrix makes of these few numbers as many as the frozen matrix.",
    source=LORA,
)

lora_up_heads = linear.using(product.project_q, product.bind_q).over(
    "lora_up_heads",
    "up",
    {"B": "batch pos", "I": "d_lora", "O": "head d_head"},
    {"x": "down", "W": "B[head, d_lora, d_head]"},
    without="b",
    summary="The adapter's second matrix makes of these few numbers some for every head.",
    source=LORA,
)

lora_scaled = scale_by.over(
    "lora_scaled",
    "scaled",
    {"B": _VECTOR, "A": ""},
    {"x": "up"},
    numbers={"factor": "factor"},
    summary="What the adapter adds is multiplied by alpha / rank, one constant for all adapters.",
    source=LORA,
)

lora_scaled_heads = scale_by.over(
    "lora_scaled_heads",
    "scaled",
    {"B": _HEADS, "A": ""},
    {"x": "up"},
    numbers={"factor": "factor"},
    summary="What the adapter adds is multiplied by alpha / rank, one constant for all adapters.",
    source=LORA,
)

lora_add = add_to.over(
    "lora_add",
    "adapted",
    {"B": "", "A": _VECTOR},
    {"x": "frozen", "more": "scaled"},
    summary="What the frozen matrix gives, and what the adapter adds to it.",
    source=LORA,
)

lora_add_heads = add_to.over(
    "lora_add_heads",
    "adapted",
    {"B": "", "A": _HEADS},
    {"x": "frozen", "more": "scaled"},
    summary="What the frozen matrix gives, and what the adapter adds to it.",
    source=LORA,
)
