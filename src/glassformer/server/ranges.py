"""HTTP byte ranges: which bytes of a value file a request asks for."""

from __future__ import annotations

import re

from glassformer.server.errors import ApiError
from glassformer.trace.file import TILE_BYTES

LONGEST = 16 * TILE_BYTES
"""Bytes of one answer: sixteen tiles."""


def parse_range(text: str | None, size: int) -> tuple[int, int]:
    """The [begin, end) that a Range header asks of a file of `size` bytes.

    >>> parse_range("bytes=0-99", 1000), parse_range("bytes=990-", 1000)
    ((0, 100), (990, 1000))
    >>> parse_range("bytes=-5", 1000), parse_range("bytes=990-2000", 1000)
    ((995, 1000), (990, 1000))
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (text or "").strip())
    if match is None or not (match[1] or match[2]):
        raise ApiError(
            "bad_request",
            f"ask for at most {LONGEST:,} bytes at a time, with one range: Range: bytes=0-65535",
        )
    if match[1]:
        begin, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    else:
        begin, end = max(size - int(match[2]), 0), size
    if not 0 <= begin < end <= size:
        raise ApiError("range_not_satisfiable", f"the file has {size:,} bytes; {text!r} is outside")
    if end - begin > LONGEST:
        raise ApiError(
            "range_not_satisfiable",
            f"{end - begin:,} bytes are too many; ask for at most {LONGEST:,} at a time",
        )
    return begin, end
