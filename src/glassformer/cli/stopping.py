"""Signals during a training: the first asks for an end after the step, the second ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from glassformer.training.ranks import ALONE, Ranks


class Stop:
    """Remembers the signal that asked training to end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def requested(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Ctrl-C ends the process here and now, also inside a library: there is nothing to save yet."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def stopping_on_signals(ranks: Ranks = ALONE) -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM asks for a stop after the step; the second ends at once.

    torchrun sends SIGTERM also when one of several ranks is gone, and then there is no saving.
    """
    stop = Stop()
    condition = b", if every process is still there" if ranks.size > 1 else b""

    def say(text: bytes) -> None:
        if ranks.is_first:
            os.write(sys.stderr.fileno(), b"\n" + text + b"\n")

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal passes them)
        if stop.requested():
            say(b"left at once; the last checkpoint is intact")
            os._exit(128 + number)
        stop.signal = number
        say(b"saving at the end of this step" + condition + b"; once more leaves at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
