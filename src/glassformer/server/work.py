"""Long work beside the event loop: few threads, a short queue, a time limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from glassformer.server.errors import ApiError
from glassformer.trace.cancel import CancelCheck

Result = TypeVar("Result")

RESTS, LONGEST_REST = 24, 0.04
"""How many times as long as it worked a recording rests while texts are written, in seconds."""


class Workers:
    """Runs functions in threads, `threads` at a time; more than `queue` waiting ones are refused.

    `seconds`: how long an answer may take, waiting included. What is still waiting when its client
    goes away, or its time is over, is never begun; what is running goes on, but it can ask. While
    `is_busy`, because others write texts, what asks rests after each of its parts.
    """

    def __init__(
        self,
        threads: int = 2,
        queue: int = 8,
        seconds: float = 120.0,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._capacity = threads + queue
        self._seconds = seconds
        self._is_busy = is_busy
        self._inside = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """The function's result; its errors are raised here."""
        with self._lock:
            if self._inside >= self._capacity:
                raise ApiError(
                    "busy", "the server has too much to do already; try again in a moment"
                )
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "glassformer")
            self._inside += 1
            future = self._pool.submit(_finished, work)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise ApiError(
                "too_slow",
                f"this took longer than {self._seconds:.0f} seconds; ask for less",
            ) from None

    async def run_until_cancelled(self, work: Callable[[CancelCheck], Result]) -> Result:
        """As `run`; the function can ask whether nobody waits any more, and end there."""
        disconnected = threading.Event()
        try:
            return await self.run(partial(work, _Considerate(disconnected.is_set, self._is_busy)))
        except BaseException:  # cancelled, or too slow
            disconnected.set()
            raise

    def _leave(self, _: object) -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """Drop what is waiting; what is running ends by itself."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class _Considerate:
    """Asks whether work is cancelled; while others are busy it takes a small part of the time."""

    def __init__(self, is_cancelled: CancelCheck, is_busy: Callable[[], bool]) -> None:
        self._is_cancelled, self._is_busy = is_cancelled, is_busy
        self._since = time.perf_counter()

    def __call__(self) -> bool:
        if self._is_busy():
            worked = time.perf_counter() - self._since
            time.sleep(min(RESTS * worked, LONGEST_REST))
        self._since = time.perf_counter()
        return self._is_cancelled()


def _finished(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except StopIteration as error:  # a future can't carry it, and would never be done
        raise RuntimeError("there was nothing to take the next of") from error
