"""Signals during a training: the first asks for an end after the step, the second ends at once.

Ctrl-C and a closed terminal reach whoever reads what is printed, too: that nobody can be told any
more must not keep a training from saving.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

import typer

from glassformer.cli.streams import say_at_once
from glassformer.training.ranks import ALONE, Ranks

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; the system or a scheduler; a terminal that was closed or a connection that broke."""


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
def exiting(number: int | None) -> Iterator[None]:
    """What is said last; after a signal the exit code tells of it, read or unread."""
    with contextlib.suppress(*[OSError] if number is not None else []):
        yield
    if number is not None:
        raise typer.Exit(128 + number)


@contextlib.contextmanager
def stopping_on_signals(ranks: Ranks = ALONE) -> Iterator[Stop]:
    """The first of the signals asks for a stop after the step; the second ends at once.

    torchrun sends SIGTERM also when one of several ranks is gone, and then there is no saving.
    """
    stop = Stop()
    condition = b", if every process is still there" if ranks.size > 1 else b""

    def say(text: bytes) -> None:
        if ranks.is_first:
            say_at_once(text)

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal passes them)
        if stop.requested():
            say(b"left at once; the last checkpoint is intact")
            os._exit(128 + number)
        stop.signal = number
        say(b"saving at the end of this step" + condition + b"; once more leaves at once")

    left_alone = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else []
    before = {n: signal.signal(n, handle) for n in ENDING if n not in left_alone}  # as by nohup
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
