"""The thread that computes a model's texts, all of them together, and the queue before it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from glassformer.generation.batch import Batch, Text
from glassformer.model import Decoder, EncoderDecoder
from glassformer.server.errors import ApiError

QUEUE = 256
"""How many texts may wait for a slot; more are told to come again."""

GRACE_SECONDS = 0.6
"""How long texts that have begun may go on when the server ends; its answers have a second."""

REPLACED_AT = float("inf")
"""When a replaced engine ends at the latest: its texts have all the time that they take."""

ENDING = "the server is ending; start it again"
REPLACED = "the model was opened anew meanwhile; ask again"


def refusal(is_replaced: bool) -> ApiError:
    """Why an engine takes no more."""
    return ApiError("busy", REPLACED) if is_replaced else ApiError("ending", ENDING)


def refuse_more(waiting: int, more: int, most: int) -> None:
    """Raise where so many texts more may not wait; where none does, any number may."""
    if waiting and waiting + more > most:
        raise ApiError("busy", "the server has too many texts to continue; come again soon")


class Engine:
    """Texts of one model; `notify` is called after each turn, on the thread that computes.

    `start` has a thread of its own compute; `run` computes on the one that calls it.
    """

    def __init__(
        self, model: Decoder | EncoderDecoder, notify: Callable[[], None], queue: int = QUEUE
    ) -> None:
        self._batch = Batch(model)
        self._notify, self._queue = notify, queue
        self._waiting: deque[Text] = deque()
        self._condition = threading.Condition()
        self._ends_at: float | None = None
        self._thread = threading.Thread(target=self.run, name="glassformer-texts", daemon=True)

    def start(self) -> Engine:
        """Compute from now on; return itself."""
        self._thread.start()
        return self

    @property
    def slots(self) -> int:
        """How many texts are continued together."""
        return self._batch.slots

    @property
    def running(self) -> int:
        """Texts that are being continued."""
        return len(self._batch.texts)

    @property
    def waiting(self) -> int:
        """Texts that wait for a slot."""
        return sum(not text.cancelled for text in [*self._waiting])

    def submit(self, texts: Sequence[Text]) -> None:
        """Have texts continued, as soon as there is room."""
        with self._condition:
            if self._ends_at is not None:
                raise refusal(is_replaced=self._ends_at == REPLACED_AT)
            refuse_more(self.waiting, len(texts), self._queue)
            self._waiting.extend(texts)
            self._condition.notify()

    def cancel(self, texts: Iterable[Text]) -> None:
        """Nobody waits for them any more: they end before their next token."""
        for text in texts:
            text.cancelled = True

    @property
    def ended(self) -> bool:
        """Whether it takes no more."""
        return self._ends_at is not None

    def leave(self) -> None:
        """Take no more; what has begun may end in a moment, and is told an error after it."""
        with self._condition:
            self._ends_at = min(self._ends_at or REPLACED_AT, time.monotonic() + GRACE_SECONDS)
            self._condition.notify()

    def retire(self) -> None:
        """Take no more, and end when all is done."""
        with self._condition:
            self._ends_at = REPLACED_AT
            self._condition.notify()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def run(self) -> None:
        """Compute until the end."""
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
                self.listen(wait=False)
                self._admit()
                if self._ends_at is not None:
                    over = time.monotonic() > self._ends_at
                    if over or not (self._waiting or self._batch.texts):
                        return False
                if self._batch.texts:
                    return True
                self.listen(wait=True)

    def listen(self, wait: bool) -> None:
        """Take what other threads ask for, which they have put here; wait: until there is some."""
        if wait:
            self._condition.wait()

    def _admit(self) -> None:
        while self._waiting and self._batch.has_room:
            text = self._waiting.popleft()
            if text.cancelled:
                text.sink.finish(None)
            else:
                self._batch.add(text)

    def _end(self, error: ApiError) -> None:
        """Tell all that still wait."""
        self._batch.end_all(error)
        with self._condition:
            waiting, self._waiting = [*self._waiting], deque()
        for text in waiting:
            text.sink.finish(None, error)
        self._notify()
