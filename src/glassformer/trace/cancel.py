"""Long work asks on the way whether anybody still waits for it."""

from __future__ import annotations

from collections.abc import Callable

from glassformer.errors import GlassformerError


class Cancelled(GlassformerError):  # noqa: N818 (as in trio: it is no fault)
    """Whoever asked for it no longer waits."""


CancelCheck = Callable[[], bool]
"""Whether nobody waits any more for the result of something long; asked on the way."""


def never_cancelled() -> bool:
    return False
