"""Diagrams of a model that follow from its configuration."""

from __future__ import annotations

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import Box
from glassformer.course.spell import visible
from glassformer.describe import counted


def block_boxes(norm_position: str) -> list[Box]:
    """A block from top to bottom, as its configuration builds it."""
    attention = Box(label="Attention", beside="looks at other tokens")
    mlp = Box(label="MLP", beside="works on each token alone")
    norm = Box(label="Layer normalization")
    if norm_position == "post":
        inside = [
            Box(label="add", inside=[attention], skip=True),
            norm,
            Box(label="add", inside=[mlp], skip=True),
            norm,
        ]
    else:
        inside = [
            Box(label="add", inside=[norm, attention], skip=True),
            Box(label="add", inside=[norm, mlp], skip=True),
        ]
    return [Box(label="Block", inside=inside)]


def decoder_boxes(room: Classroom) -> list[Box]:
    """The classroom's model from its inputs to the next token, with its sizes."""
    config = room.model.config
    tokens = [visible(room.tokenizer.token(i)) for i in room.tokenizer.encode_prompt(room.prompt)]
    attention = Box(
        label="Masked multi-head attention",
        beside=f"{counted(config.n_heads, 'head')}, {counted(config.d_head, 'number')} each",
        inside=[
            Box(label="Q, K, V", beside="each token's vector times W_Q, W_K and W_V"),
            Box(label="Q Kᵀ / √d", beside="a score for each pair, scaled"),
            Box(label="Mask", beside="no token sees a later one"),
            Box(label="Softmax", beside="scores become shares"),
            Box(label="Shares times V", beside="a mix of values for each head"),
            Box(
                label="Side by side, times W_O",
                beside=f"back to {counted(config.d_model, 'number')}",
            ),
        ],
    )
    mlp = Box(label="MLP (feed forward)", beside=counted(config.d_mlp, "neuron"))
    norm = Box(label="Layer normalization")
    return [
        Box(label="Inputs", beside=" | ".join(tokens)),
        Box(label="Input embeddings", beside=f"{config.vocab_size} rows of {config.d_model}"),
        Box(label="+ Positions", beside=f"{config.n_ctx} rows of {config.d_model}"),
        Box(
            label="Block",
            beside="one" if config.n_layers == 1 else f"{config.n_layers} of them",
            inside=[
                Box(label="add", inside=[norm, attention], skip=True),
                Box(label="add", inside=[norm, mlp], skip=True),
            ],
        ),
        Box(label="Final normalization"),
        Box(label="Linear layer", beside=f"{config.vocab_size} scores"),
        Box(label="Softmax", beside=visible(room.tokenizer.token(room.best_token(room.prompt)))),
    ]
