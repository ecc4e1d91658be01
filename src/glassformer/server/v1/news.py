"""The answers that are being written, and the waking of those who wait for them."""

from __future__ import annotations

import asyncio
import threading

from glassformer.server.v1.answer import Answer


class News:
    """Wakes those who wait for answers, once for all that a turn has brought."""

    def __init__(self) -> None:
        self._answers: list[Answer] = []
        self._lock = threading.Lock()

    def watch(self, answer: Answer) -> None:
        """Have whoever waits for it woken when there is something new."""
        with self._lock:
            self._answers.append(answer)

    def wake(self) -> None:
        """Wake those for whom there is something new; on any thread."""
        loops: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
        for answer in self._answers:
            if answer.touched:
                answer.touched = False
                loops.setdefault(answer.loop, []).append(answer)
        here = _running_loop()
        for loop, answers in loops.items():
            if loop is here:
                _wake(answers)
                continue
            try:
                loop.call_soon_threadsafe(_wake, answers)
            except RuntimeError:  # the loop has ended with the server
                for answer in answers:
                    answer.cancel()
        with self._lock:
            self._answers = [a for a in self._answers if not (a.done or a.cancelled)]


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of this thread, if it has one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wake(answers: list[Answer]) -> None:
    for answer in answers:
        answer.event.set()
