"""The thread that computes a model's texts, all of them together, and the queue before it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque

from glassformer.generation.batch import Batch
from glassformer.model import Decoder, EncoderDecoder
from glassformer.server.errors import ApiError
from glassformer.server.v1.answer import Answer

QUEUE = 256
"""How many texts may wait for a slot; more are told to come again."""

GRACE_SECONDS = 0.6
"""How long texts that have begun may go on when the server ends; its answers have a second."""

ENDING = "the server is ending; start it again"


class Engine:
    """Texts of one model; `submit` from the event loop, the rest is its thread's."""

    def __init__(self, model: Decoder | EncoderDecoder, queue: int = QUEUE) -> None:
        self.model = model
        self._batch = Batch(model)
        self._queue = queue
        self._waiting: deque[Answer] = deque()
        self._answers: list[Answer] = []
        self._condition = threading.Condition()
        self._ends_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="glassformer-texts", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Texts that are being continued."""
        return len(self._batch.texts)

    @property
    def waiting(self) -> int:
        """Texts that wait for a slot."""
        return sum(len(answer.texts) for answer in [*self._waiting])

    def submit(self, answer: Answer) -> None:
        """Have an answer's texts continued, as soon as there is room."""
        with self._condition:
            if self._ends_at is not None:
                raise ApiError("ending", ENDING)
            if self._waiting and self.waiting + len(answer.texts) > self._queue:
                raise ApiError("busy", "the server has too many texts to continue; come again soon")
            self._waiting.append(answer)
            self._answers.append(answer)
            self._condition.notify()

    def leave(self) -> None:
        """Take no more; what has begun may end in a moment, and is told an error after it."""
        with self._condition:
            self._ends_at = self._ends_at or time.monotonic() + GRACE_SECONDS
            self._condition.notify()

    def retire(self) -> None:
        """Take no more, and end when all is done."""
        with self._condition:
            self._ends_at = float("inf")
            self._condition.notify()

    def _run(self) -> None:
        while self._wait():
            try:
                self._batch.turn()
            except Exception as error:
                # none of the texts can go on, and whoever waits must not wait for ever
                self._batch.end_all(error)
            self._notify()
        self._end(ApiError("ending", ENDING))

    def _wait(self) -> bool:
        """Until there is something to do, and give it its slot; whether to go on."""
        with self._condition:
            while True:
                self._admit()
                if self._ends_at is not None:
                    over = time.monotonic() > self._ends_at
                    if over or not (self._waiting or self._batch.texts):
                        return False
                if self._batch.texts:
                    return True
                self._condition.wait()

    def _admit(self) -> None:
        while self._waiting and self._batch.has_room:
            answer = self._waiting[0]
            if answer.texts and not answer.cancelled:
                self._batch.add(answer.texts.popleft())
            if not answer.texts or answer.cancelled:
                self._waiting.popleft()

    def _notify(self) -> None:
        """Wake those for whom there is something new."""
        loops: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
        for answer in self._answers:
            if answer.touched:
                answer.touched = False
                loops.setdefault(answer.loop, []).append(answer)
        for loop, answers in loops.items():
            try:
                loop.call_soon_threadsafe(_wake, answers)
            except RuntimeError:  # the loop has ended with the server
                for answer in answers:
                    answer.cancel()
        with self._condition:
            self._answers = [a for a in self._answers if not (a.done or a.cancelled)]

    def _end(self, error: ApiError) -> None:
        """Tell all that still wait."""
        self._batch.end_all(error)
        with self._condition:
            waiting, self._waiting = [*self._waiting], deque()
        for answer in waiting:
            for text in answer.texts:
                text.sink.finish(None, error)
        self._notify()


def _wake(answers: list[Answer]) -> None:
    for answer in answers:
        answer.event.set()
