"""The process that writes one model's texts for a server, see `apart`; it ends with the server."""

from __future__ import annotations

import gc
import os
import select
import sys
import time
import traceback
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.generation.batch import Chosen, Text
from glassformer.model import Decoder
from glassformer.server.errors import ApiError
from glassformer.server.v1 import messages
from glassformer.server.v1.engine import Engine

READ_BYTES = 1 << 18

YOUNG = 10_000
"""Objects that are made before Python looks for circles: a text and its sink are one."""

HOLD_SECONDS = 0.05
"""How long tokens are kept that are wanted together with all others of their text."""


class Pipes:
    """What a server says, and what it is told; with the server this process ends.

    Where it is slow to listen, what it says is taken in: or each would wait for the other for ever.
    """

    def __init__(self, source: int, to: int) -> None:
        self._source, self._to = source, to
        self._rest = bytearray()
        """Of what was said, what nobody took yet."""
        os.set_blocking(to, False)

    def lines(self, wait: bool) -> list[bytes]:
        """Whole lines that have come; wait: for some bytes at least."""
        if b"\n" not in self._rest and (wait or select.select([self._source], [], [], 0)[0]):
            self._read()
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        return [bytes(line) for line in lines]

    def _read(self) -> None:
        data = os.read(self._source, READ_BYTES)
        if not data:
            os._exit(0)
        self._rest += data

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._to, rest) :]
            except BlockingIOError:
                if select.select([self._source], [self._to], [])[0]:
                    self._read()
            except BrokenPipeError:
                os._exit(0)


class Outbox:
    """What is to be told of the texts, and whether somebody waits for it already."""

    def __init__(self, to: Pipes) -> None:
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
        self._to.write(messages.line(message))


class Writing:
    """A text's sink: puts what it is told into the outbox."""

    def __init__(self, number: int, outbox: Outbox) -> None:
        self._number, self._outbox = number, outbox
        self._chosen: list[Chosen] = []
        self.text: Text | None = None

    def scored(self, prompt: list[Chosen]) -> None:
        self._outbox.scored.append((self._number, messages.written_tokens(prompt)))

    def push(self, *chosen: Chosen) -> bool:
        assert self.text is not None
        if not self._chosen:
            self._outbox.new[self._number] = self
            self._outbox.is_urgent |= not self.text.at_once
        self._chosen += chosen
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
    source, to = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # whatever prints must not come between the messages
    model = messages.read_model(source)
    if model is None:  # the server has gone already
        return
    pipes = Pipes(source.fileno(), to)  # nothing is said until the slots are told
    engine = ListeningEngine(model, pipes)
    gc.freeze()  # what is there for good is not looked through again and again
    gc.set_threshold(YOUNG)
    pipes.write(messages.line({"slots": engine.slots}))
    engine.run()
    os._exit(0)


class ListeningEngine(Engine):
    """An engine that takes itself, between its turns, what it is to do.

    A second thread that did would wait for Python's lock, and the turns for its work.
    """

    def __init__(self, model: Decoder, pipes: Pipes) -> None:
        self._pipes, self._outbox = pipes, Outbox(pipes)
        super().__init__(model, self._outbox.send, queue=sys.maxsize)

    def listen(self, wait: bool) -> None:
        for line in self._pipes.lines(wait):
            self._take(messages.read_line(line))

    def _take(self, message: dict[str, Any]) -> None:
        begun = [self._outbox.begin(number, fields) for number, fields in message.get("texts", ())]
        try:
            self.submit(begun)
        except ApiError as error:  # it leaves already
            for text in begun:
                text.sink.finish(None, error)
        texts = (self._outbox.texts.get(number) for number in message.get("cancel", ()))
        self.cancel(text for text in texts if text is not None)
        if message.get("leave"):
            self.leave()
        if message.get("retire"):
            self.retire()


if __name__ == "__main__":
    main()
