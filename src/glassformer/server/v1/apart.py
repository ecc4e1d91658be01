"""An engine in a process of its own, which shares no lock of Python's with the web server.

A small model's turn takes a tenth of a millisecond, and reading a request a whole one: on one lock
each would wait for the other.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from glassformer.generation.batch import Text
from glassformer.generation.packed import is_small
from glassformer.model import Decoder
from glassformer.server.errors import ApiError
from glassformer.server.v1 import messages
from glassformer.server.v1.engine import QUEUE, refusal, refuse_more

WRITE = [sys.executable, "-m", "glassformer.server.v1.apart_child"]

READ_BYTES = 1 << 18


def can_be_apart(model: Any) -> bool:
    """Whether a process of its own is worth it: a large model's turns hold no lock for long."""
    return isinstance(model, Decoder) and is_small(model) and model.embed.W_E.device.type == "cpu"


class EngineApart:
    """As `Engine`, but for `submit` and `cancel`, which are called from the event loop alone.

    Making one takes as long as Python takes to start. `notify` is called after each message.
    """

    def __init__(self, model: Decoder, notify: Callable[[], None], queue: int = QUEUE) -> None:
        self._notify, self._queue = notify, queue
        self._texts: dict[int, Text] = {}
        self._numbers: dict[Text, int] = {}
        self._begun = 0
        self._said: deque[bytes] = deque()  # and not sent yet
        self._rest = b""  # of a message that has not come whole
        self._is_read = False
        self._unsent: deque[bytes] = deque()
        self._lock = threading.Lock()  # held by who sends
        self.slots = 1
        self._leaves = False
        self.ended = False
        """Whether it takes no more."""
        self._process = subprocess.Popen(
            WRITE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # a Ctrl-C for the server is not meant for it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        try:
            self._write(messages.written_model(model))
            self.slots = int(messages.read_line(self._out.readline())["slots"])
        except (OSError, ValueError):
            self._close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def running(self) -> int:
        """Texts that are being continued."""
        return min(len(self._texts), self.slots)

    @property
    def waiting(self) -> int:
        """Texts that wait for a slot."""
        return len(self._texts) - self.running

    def submit(self, texts: Sequence[Text]) -> None:
        """Have texts continued, as soon as there is room."""
        if self.ended:
            raise refusal(is_replaced=not self._leaves)
        refuse_more(self.waiting, len(texts), self._queue)
        if not self._is_read:
            asyncio.get_running_loop().add_reader(self._out, self._receive)
            self._is_read = True
        begun: list[tuple[int, dict[str, Any]]] = []
        for text in texts:
            self._begun += 1
            self._texts[self._begun], self._numbers[text] = text, self._begun
            begun.append((self._begun, messages.written(text)))
        # at once: texts that begin apart end apart, and neither process waits for the other
        self._send({"texts": begun})

    def cancel(self, texts: Iterable[Text]) -> None:
        """Nobody waits for them any more: they end before their next token."""
        numbers = [self._numbers[text] for text in texts if text in self._numbers]
        for number in numbers:
            self._finish(number, None)
        if numbers:
            self._send_soon({"cancel": numbers})

    def leave(self) -> None:
        """Take no more; what has begun may end in a moment, and is told an error after it."""
        self.ended = self._leaves = True
        self._send({"leave": True})

    def retire(self) -> None:
        """Take no more, and end when all is done."""
        self.ended = True
        self._send({"retire": True})
        if not self._is_read:
            self._close()

    def _send(self, message: dict[str, Any]) -> None:
        self._said.append(messages.line(message))
        self._send_said()

    def _send_soon(self, message: dict[str, Any]) -> None:
        """Send it with what else is said in this turn of the event loop: each wakes the process."""
        if not self._said:
            asyncio.get_running_loop().call_soon(self._send_said)
        self._said.append(messages.line(message))

    def _send_said(self) -> None:
        said: list[bytes] = []
        while self._said:
            said.append(self._said.popleft())
        with suppress(OSError, ValueError):  # the process has ended, which is read as well
            self._write(b"".join(said))

    def _write(self, data: bytes) -> None:
        """Send a message, or leave it to who is sending one: a handler may come in the middle."""
        self._unsent.append(data)
        while self._unsent and self._lock.acquire(blocking=False):
            try:
                rest = memoryview(self._unsent.popleft())
                while rest:
                    rest = rest[self._in.write(rest) :]
            finally:
                self._lock.release()

    def _receive(self) -> None:
        """Take what the process has told; called by the event loop when there is something."""
        data = os.read(self._out.fileno(), READ_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                self._take(messages.read_line(line))
        except Exception:  # whoever waits must not wait for ever: without it all texts end
            self._process.kill()
            raise
        if not data:
            asyncio.get_running_loop().remove_reader(self._out)
            self._close()
        self._notify()

    def _take(self, message: dict[str, Any]) -> None:
        for number, tokens in message["scored"]:
            if number in self._texts:
                self._texts[number].sink.scored(messages.read_tokens(tokens))
        for number, tokens, times in message["new"]:
            self._push(number, tokens, times)
        for number, reason, error in message["ended"]:
            self._finish(number, reason, messages.read_error(error))

    def _push(self, number: int, tokens: list[Any], times: list[float]) -> None:
        text = self._texts.get(number)
        if text is None:  # nobody waits for it any more
            return
        chosen = messages.read_tokens(tokens)
        text.new += [one.token for one in chosen]
        text.times += times
        if text.sink.push(*chosen):
            self._finish(number, "stop")
            self._send_soon({"cancel": [number]})

    def _finish(self, number: int, reason: str | None, error: Exception | None = None) -> None:
        text = self._texts.pop(number, None)
        if text is not None:
            del self._numbers[text]
            text.sink.finish(reason, error)

    def _close(self) -> None:
        """The process has ended: so have all of its texts."""
        self.ended = True
        self._in.close()
        self._out.close()
        self._process.wait()
        lost = ApiError("ending", "the process that wrote this text has ended; ask again")
        for number in [*self._texts]:
            self._finish(number, None, lost)
