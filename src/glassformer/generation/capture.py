"""What the captures of a decoding step have in common: every number must come by the tape."""

from __future__ import annotations

from torch import Tensor


def not_on_the_tape(value: Tensor) -> RuntimeError:
    """The error of a number that nothing captured gives."""
    return RuntimeError(
        f"a value of shape {[*value.shape]} is no result of a call on the tape, no weight and no"
        " input; compute it on the tape"
    )
