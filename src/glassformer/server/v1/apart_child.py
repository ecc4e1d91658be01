"""The process that writes one model's texts for a server, see `apart`; it ends with the server."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback
from typing import IO, Any

from glassformer.errors import GlassformerError
from glassformer.generation.batch import Chosen, Text
from glassformer.server.v1 import messages
from glassformer.server.v1.engine import Engine

HOLD_SECONDS = 0.05
"""How long tokens are kept that are wanted together with all others of their text."""


class Outbox:
    """What is to be told of the texts, and whether somebody waits for it already."""

    def __init__(self, to: IO[bytes]) -> None:
        self._to = to
        self._was_notified = time.monotonic()
        self.texts: dict[int, Text] = {}
        """Those that have not ended, by their numbers."""
        self._clear()

    def _clear(self) -> None:
        self.scored: list[tuple[int, list[Any]]] = []
        self.new: dict[int, Writing] = {}
        self.ended: list[tuple[int, str | None, list[str] | None]] = []
        self.is_urgent = False

    def begin(self, number: int, fields: dict[str, Any]) -> Text:
        """A text that is to be written."""
        writing = Writing(number, self)
        writing.text = self.texts[number] = messages.read(fields, writing)
        return writing.text

    def send(self) -> None:
        """After each turn: tell it, or keep it for a moment."""
        now = time.monotonic()
        if not (self.is_urgent or (self.new and now - self._was_notified > HOLD_SECONDS)):
            return
        new = [(number, *writing.taken()) for number, writing in self.new.items()]
        message = {"scored": self.scored, "new": new, "ended": self.ended}
        for number, _, _ in self.ended:
            del self.texts[number]
        self.tell(message)
        self._was_notified = now
        self._clear()

    def tell(self, message: dict[str, Any]) -> None:
        try:
            self._to.write(messages.line(message))
            self._to.flush()
        except BrokenPipeError:  # the server has gone
            os._exit(0)


class Writing:
    """A text's sink: puts what it is told into the outbox."""

    def __init__(self, number: int, outbox: Outbox) -> None:
        self._number, self._outbox = number, outbox
        self._chosen: list[Chosen] = []
        self.text: Text | None = None

    def scored(self, prompt: list[Chosen]) -> None:
        self._outbox.scored.append((self._number, messages.written_tokens(prompt)))

    def push(self, chosen: Chosen) -> bool:
        assert self.text is not None
        self._chosen.append(chosen)
        self._outbox.new[self._number] = self
        self._outbox.is_urgent |= not self.text.at_once
        return False

    def finish(self, reason: str | None, error: Exception | None = None) -> None:
        if error is not None and not isinstance(error, GlassformerError):
            traceback.print_exception(error)  # into the server's log
        self._outbox.ended.append((self._number, reason, messages.written_error(error)))
        self._outbox.is_urgent = True

    def taken(self) -> tuple[list[Any], list[float]]:
        """The tokens since the last time, and when they were chosen."""
        assert self.text is not None
        tokens, self._chosen = messages.written_tokens(self._chosen), []
        return tokens, self.text.times[-len(tokens) :]


def main() -> None:
    """Read the model and then what is to be done, until the server has gone."""
    source, to = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not come between the messages
    outbox = Outbox(to)
    model = messages.read_model(source)
    if model is None:  # the server has gone already
        return
    engine = Engine(model, outbox.send, queue=sys.maxsize)
    gc.freeze()  # what is there for good is not looked through again and again
    outbox.tell({"slots": engine.slots})
    threading.Thread(target=_end_with, args=[engine], daemon=True).start()
    for line in source:
        message = json.loads(line)
        if begun := message.get("texts"):
            engine.submit([outbox.begin(number, fields) for number, fields in begun])
        texts = (outbox.texts.get(number) for number in message.get("cancel", ()))
        engine.cancel(text for text in texts if text is not None)
        if message.get("leave"):
            engine.leave()
        if message.get("retire"):
            engine.retire()
    os._exit(0)


def _end_with(engine: Engine) -> None:
    engine.join()
    os._exit(0)


if __name__ == "__main__":
    main()
