"""Matrix products: every learned matrix of the model, and the products of two values."""

from __future__ import annotations

from glassformer.kernels import product
from glassformer.ops.elementwise import cap_over, multiply, scale_by
from glassformer.ops.op import template

GATED = "Shazeer 2020, eq. 6"

linear = template(
    "linear",
    "y[*B, *O] = sum(*I, x[*B, *I] * W[*I, *O]) + b[*O]",
    "x W b",
    product.affine,
    source="Vaswani et al. 2017, section 3.3",
)

contract = template(
    "contract",
    "y[*O] = sum(*I, a[*O, *I] * b[*O, *I])",
    "a b",
    product.contract,
)

mlp_in = linear.over(
    "mlp_in",
    "pre",
    {"B": "batch pos", "I": "d_model", "O": "d_mlp"},
    {"W": "W_in", "b": "b_in"},
    summary="Every neuron weighs the numbers of the token's vector{b_in: and adds its bias}.",
    source="Vaswani et al. 2017, eq. 2",
)

mlp_gate = linear.over(
    "mlp_gate",
    "pre",
    {"B": "batch pos", "I": "d_model", "O": "d_mlp"},
    {"W": "W_gate", "b": "b_gate"},
    summary="Every neuron's gate weighs the numbers of the token's vector: how far does it open?",
    source=GATED,
)

mlp_up = linear.over(
    "mlp_up",
    "pre_linear",
    {"B": "batch pos", "I": "d_model", "O": "d_mlp"},
    {"W": "W_in", "b": "b_in"},
    summary="Every neuron weighs the numbers of the token's vector a second time: what may pass?",
    source=GATED,
)

open_gate = multiply.over(
    "open_gate",
    "post",
    {"B": "", "A": "batch pos d_mlp"},
    {"x": "pre_linear", "factor": "gate"},
    summary="What may pass is multiplied by how far the gate is open.",
    source=GATED,
)

mlp_out = linear.over(
    "mlp_out",
    "mlp_out",
    {"B": "batch pos", "I": "d_mlp", "O": "d_model"},
    {"x": "post", "W": "W_out", "b": "b_out"},
    summary="What the active neurons write is summed, back to the width of the stream.",
    source="Vaswani et al. 2017, eq. 2",
)

scale_final = scale_by.over(
    "scale_final",
    "final_scaled",
    {"B": "batch pos d_model", "A": ""},
    numbers={"factor": "factor"},
    summary="The final vector is multiplied by a constant of the model's own.",
)

capped_logits = cap_over("logits", "batch pos vocab", "logits_raw", "logits")
cap_logits = capped_logits.fused

unembed = linear.over(
    "unembed",
    "logits",
    {"B": "batch pos", "I": "d_model", "O": "vocab"},
    {"W": "W_U", "b": "b_U"},
    summary="Each vocabulary entry's column is dotted with the final vector: its score, or logit.",
    source="Vaswani et al. 2017, section 3.4",
    role="score",
)

project_qkv = linear.using(product.project_qkv, product.bind_qkv).over(
    "project_qkv",
    ("q", "k", "v"),
    {"B": "batch pos", "I": "d_model", "O": "head d_head"},
    tuple({"W": f"W_{x}[head, d_model, d_head]", "b": f"b_{x}"} for x in "QKV"),
    summary="Each token's vector is turned into a query, a key and a value for every head.",
    source="Vaswani et al. 2017, section 3.2.2",
)

_SHARED = {"B": "batch pos", "I": "d_model", "O": "kv_head d_head"}

project_shared_qkv = linear.using(product.project_qkv, product.bind_qkv).over(
    "project_shared_qkv",
    ("q", "k", "v"),
    ({**_SHARED, "O": "head d_head"}, _SHARED, _SHARED),
    (
        {"W": "W_Q[head, d_model, d_head]", "b": "b_Q"},
        *({"W": f"W_{x}[kv_head, d_model, d_head]", "b": f"b_{x}"} for x in "KV"),
    ),
    summary="Each token's vector is turned into a query for every head, and a key and a value for"
    " every group of heads.",
    source="Ainslie et al. 2023, section 2.2",
)

CROSS = "Vaswani et al. 2017, section 3.2.3"

project_q = linear.using(product.project_q, product.bind_q).over(
    "project_q",
    "q",
    {"B": "batch pos", "I": "d_model", "O": "head d_head"},
    {"W": "W_Q[head, d_model, d_head]", "b": "b_Q"},
    summary="Each token's vector is turned into a query for every head: what it asks the source.",
    source=CROSS,
)

project_kv = linear.using(product.project_kv, product.bind_kv).over(
    "project_kv",
    ("k", "v"),
    {"B": "batch pos", "I": "d_model", "O": "head d_head"},
    tuple({"W": f"W_{x}[head, d_model, d_head]", "b": f"b_{x}"} for x in "KV"),
    summary="Each source token's vector is turned into a key and a value for every head.",
    source=CROSS,
)

project_shared_kv = linear.using(product.project_kv, product.bind_kv).over(
    "project_shared_kv",
    ("k", "v"),
    _SHARED,
    tuple({"W": f"W_{x}[kv_head, d_model, d_head]", "b": f"b_{x}"} for x in "KV"),
    summary="Each source token's vector is turned into a key and a value for every group of heads.",
    source="Ainslie et al. 2023, section 2.2",
)

merge_heads = linear.using(product.merge_heads, product.bind_merge_heads).over(
    "merge_heads",
    "attn_out",
    {"B": "batch pos", "I": "head d_head", "O": "d_model"},
    {"x": "z", "W": "W_O", "b": "b_O"},
    summary="The heads' mixes are joined by one more matrix, back to the width of the stream.",
    source="Vaswani et al. 2017, section 3.2.2",
)
