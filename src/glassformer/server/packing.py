"""Bytes as they stand in a page: compressed, in letters that need no escape there."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import numpy.typing as npt

_PLAIN = str.maketrans("<&", ",.")


def pack(content: bytes) -> str:
    """Bytes as text: gzip, then base 85 with `,` and `.` for HTML's `<` and `&`.

    Five letters for four bytes, where base64 has five and a third.
    Source: RFC 1924 (its alphabet).
    """
    return base64.b85encode(gzip.compress(content, 9, mtime=0)).decode().translate(_PLAIN)


def pack_words(words: npt.NDArray[np.uint32]) -> str:
    """32-bit words as text.

    First the lowest byte of every word, then the next: their highest are much alike, and so the
    whole compresses better.
    """
    planes = np.ascontiguousarray(words.view(np.uint8).reshape(-1, 4).T)
    return pack(planes.tobytes())
