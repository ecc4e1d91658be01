"""Answers that are sent while they are made: server-sent events, as OpenAI's clients read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from glassformer.errors import GlassformerError
from glassformer.server.errors import body
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.errors import error_body

DONE = "data: [DONE]\n\n"

PIECE_CHARACTERS = 50_000
"""Written in some ten milliseconds."""

LINE_ENDS = str.maketrans({end: f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"})
"""What ends a line for some clients, and no line of server-sent events, as JSON escapes it."""


def event(model: BaseModel) -> str:
    """One chunk, on one line for whoever reads it."""
    return f"data: {model.model_dump_json().translate(LINE_ENDS)}\n\n"


async def in_pieces(events: Iterator[str]) -> AsyncIterator[str]:
    """Joined into pieces of a sensible size; others have their turn after each."""
    piece: list[str] = []
    characters = 0
    for one in events:
        piece.append(one)
        characters += len(one)
        if characters > PIECE_CHARACTERS:
            yield "".join(piece)
            piece, characters = [], 0
            await asyncio.sleep(0)
    if piece:
        yield "".join(piece)


class Streamed(StreamingResponse):
    """An answer's chunks, then [DONE]; or an error in place of what did not come.

    However it ends, the answer ends with it: Python closes what makes the chunks when it likes.
    """

    def __init__(self, answer: Answer, chunks: AsyncIterator[str]) -> None:
        super().__init__(_closed(chunks), media_type="text/event-stream")
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive  # who waits for the client to leave is the guard
        try:
            await self.stream_response(send)
        finally:
            self._answer.close()


async def _closed(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            yield chunk
    except GlassformerError as error:
        yield f"data: {json.dumps(error_body(error))}\n\n"
    except asyncio.CancelledError:
        raise
    except Exception:
        broken = body("broken", "the server failed at this text; its log says where")
        yield f"data: {json.dumps(broken)}\n\n"
        raise
    else:
        yield DONE
