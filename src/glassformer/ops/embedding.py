"""Token ids and positions become vectors."""

from __future__ import annotations

from glassformer.kernels import elementwise, positions
from glassformer.kernels import look_up as kernels
from glassformer.ops.elementwise import add_to, copy, scale_by
from glassformer.ops.op import template

look_up = template("look_up", "y[*B, *O] = W[ids[*B], *O]", "W ids", kernels.rows)

embed_tokens = look_up.using(kernels.look_up).over(
    "embed_tokens",
    "embed",
    {"B": "batch pos", "O": "d_model"},
    {"W": "W_E"},
    summary="Each token id picks its own row of the embedding table.",
    role="stream",
)

embed_positions = look_up.over(
    "embed_positions",
    "pos_embed",
    {"B": "pos", "O": "d_model"},
    {"W": "W_pos", "ids": "position"},
    summary="Each position picks its own row of the position table.",
    role="stream",
)

embed_types = look_up.using(kernels.look_up).over(
    "embed_types",
    "type_embed",
    {"B": "batch pos", "O": "d_model"},
    {"W": "W_type", "ids": "types"},
    summary="Each token's type, such as which of two sentences it is of, picks its own row.",
    source="Devlin et al. 2019, section 3",
    role="stream",
)

sinusoid = template(
    "sinusoid",
    "y[P, D] = select(kind[P, D] == 0,"
    " sin(position[P] / 10000 ** (2 * pair[P, D] / width)),"
    " cos(position[P] / 10000 ** (2 * pair[P, D] / width)))",
    "position kind pair",
    positions.sinusoid,
    summary="Each position is a fixed pattern of sines and cosines, one wavelength per pair.",
    # The paper's i numbers the pairs.
    source="Vaswani et al. 2017, section 3.5",
    role="stream",
)

_POSITIONS = {"P": "pos", "D": "d_model"}

embed_sinusoid = sinusoid.over(
    "embed_sinusoid",
    "pos_embed",
    _POSITIONS,
    numbers={"kind": "d_model % 2", "pair": "d_model // 2"},
)

embed_sinusoid_halves = sinusoid.over(
    "embed_sinusoid_halves",
    "pos_embed",
    _POSITIONS,
    numbers={"kind": "d_model // half", "pair": "d_model % half"},
    summary="Each position is a fixed pattern: the sines of all wavelengths, then their cosines.",
)

scale_embed = scale_by.over(
    "scale_embed",
    "embed_scaled",
    {"B": "batch pos d_model", "A": ""},
    {"x": "embed"},
    numbers={"factor": "factor"},
    summary="The token's vector is multiplied by a constant of the model's own.",
    role="stream",
)

add_positions = add_to.over(
    "add_positions",
    "resid_start",
    {"B": "batch", "A": "pos d_model"},
    {"x": "embed", "more": "pos_embed"},
    summary="Meaning plus place: the token's vector and its position's vector are added.",
    source="Vaswani et al. 2017, section 3.5",
    role="stream",
)

tie = copy.using(elementwise.transposed).over(
    "tie",
    "W_U",
    {"A": "d_model vocab"},
    {"x": "W_E[vocab, d_model]"},
    summary="The unembedding is the embedding table itself, read by columns.",
    source="Press and Wolf 2017",
)
