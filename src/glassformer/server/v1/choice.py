"""One text that a request asks for, as it grows: filled by the thread that computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from glassformer.generation.batch import Chosen, Text
from glassformer.generation.stream import TextStream
from glassformer.server.v1.glass import first_choice
from glassformer.text.tokenizer import Tokenizer


def _nothing() -> None:
    pass


class Ended:
    """Whom a text that has ended tells: nobody."""

    def scored(self, prompt: list[Chosen]) -> None:
        pass

    def push(self, *chosen: Chosen) -> bool:
        del chosen
        return True

    def finish(self, reason: str | None, error: Exception | None = None) -> None:
        pass


class Choice:
    """What has been given of a text: its pieces, its tokens, and how it ended.

    stop: texts before which it ends. at_once: its text is wanted at the end alone. alone: it is
    spelled by itself, not as what follows the prompt: no space stands before its first word.
    """

    def __init__(
        self,
        index: int,
        prompt: list[int],
        tokenizer: Tokenizer,
        stop: list[str],
        at_once: bool,
        touched: Callable[[], None],
        alone: bool = False,
    ) -> None:
        self.index, self.prompt, self.alone = index, prompt, alone
        self.tokenizer = tokenizer
        self.text: Text | None = None
        self.prompt_scores: list[Chosen] = []
        self.chosen: list[Chosen] = []
        self.reason: str | None = None
        self.error: Exception | None = None
        self.done = False
        self._stream = TextStream(tokenizer, () if alone else prompt, stop)
        self._at_once, self._late = at_once, at_once and not stop
        self._touched = touched
        self._pieces: list[str] = []
        self._taken = 0
        self._place: tuple[bool, dict[str, str]] | None = None  # of a choice that is made, or not
        self._lock = threading.Lock()

    # --- as a sink, on the thread that computes ---

    def scored(self, prompt: list[Chosen]) -> None:
        self.prompt_scores = prompt

    def push(self, *chosen: Chosen) -> bool:
        if self._late:
            self.chosen += chosen
            return False
        for one in chosen:
            self._push(one)
        if not self._at_once:
            self._touched()
        return self._stream.stopped

    def _push(self, chosen: Chosen) -> None:
        assert self.text is not None
        ends = chosen.token in self.text.stop_ids
        piece = "" if ends else self._stream.push(chosen.token)
        with self._lock:
            self.chosen.append(chosen)
            self._pieces.append(piece)

    def finish(self, reason: str | None, error: Exception | None = None) -> None:
        assert self.text is not None
        late = self.chosen if self._late else ()
        rest = self._stream.end([c.token for c in late if c.token not in self.text.stop_ids])
        with self._lock:
            self._pieces.append(rest)
            self.reason = "stop" if self._stream.stopped else reason
            self.error, self.done = error, True
        self._touched()
        # or they hold each other until Python's collector comes, which is seldom
        self._touched, self.text.sink = _nothing, Ended()

    @property
    def has_news(self) -> bool:
        """Whether there are tokens that nobody took yet."""
        return len(self.chosen) > self._taken

    @property
    def place(self) -> dict[str, str]:
        """What the page's address says of its first choice, or of its prompt until there is one."""
        is_made = bool(self.chosen)
        if self._place is None or self._place[0] != is_made:
            assert self.text is not None
            self._place = is_made, first_choice(self.tokenizer, self.text, is_made)
        return self._place[1]

    @property
    def finish_reason(self) -> Literal["stop", "length"] | None:
        """Why it ended; None where an error ended it, which is told in place of it."""
        if self.error is not None:
            return None
        return "stop" if self.reason == "stop" else "length"

    # --- as an answer, on the server's thread ---

    def take(self) -> tuple[str, list[Chosen], bool]:
        """The text and the tokens that came since the last time, and whether that is all."""
        with self._lock:
            text, self._pieces = "".join(self._pieces), []
            new = self.chosen[self._taken :]
            self._taken = len(self.chosen)
            return text, new, self.done
