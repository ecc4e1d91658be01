"""The tokens that lessons show, and the head that they look through."""

from __future__ import annotations

from glassformer.course.classroom import Classroom
from glassformer.course.spell import visible

LAYER = "fwd/blocks.0.attn."


def tokens_of(room: Classroom, prompt: str) -> list[str]:
    """A prompt's tokens, blanks made visible."""
    return [visible(room.tokenizer.token(i)) for i in room.tokenizer.encode_prompt(prompt)]


def strongest_head(room: Classroom) -> int:
    """The head of block 0 whose last token gives the most to a token before it."""
    pattern = room.watch(room.prompt)[LAYER + "pattern"]
    return int(pattern[:, -1, :-1].amax(-1).argmax())
