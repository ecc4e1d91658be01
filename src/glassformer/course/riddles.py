"""Riddles of Storyland, whose answers stand only in the prompt, and the model that solves them.

"fig is red. pear is blue. fig is" goes on with "red", in the next text with another color. So a
model can't know the answers; it can only learn to look them up. Nothing else is in these texts, so
a small model learns it in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from glassformer.files import write_atomically
from glassformer.text.storyland import Document, documents
from glassformer.training.choices import Choices

KINDS = {"colours": "colors", "words": "invented words"}
"""Kinds of Storyland's texts that make up their own answers, and how lessons call them."""

TEXTS = 6_000  # to learn from
SIZES = {"d_model": 32, "n_ctx": 48, "n_heads": 4}
RECIPE = {"steps": 900, "eval_every": 0, "sample_every": 0, "save_every": 0}


def riddles(seed: str) -> Iterator[Document]:
    """Riddles without end; the seed decides every one of them."""
    return (document for document in documents(seed) if document.kind in KINDS)


def choices(file: Path, n: int = TEXTS) -> Choices:
    """Write riddles to a file, and say how a model learns them."""
    rows = (json.dumps({"text": riddle.text}) for riddle in islice(riddles("course"), n))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, "\n".join(rows) + "\n")
    return Choices(
        texts=(str(file),),
        preset="storyland",
        tokenizer="words",
        model=SIZES,
        recipe=RECIPE,
        device="cpu",
    )
