"""POST /v1/chat/completions: the assistant's next message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response

from glassformer.server.v1 import schemas
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.choice import Choice
from glassformer.server.v1.engines import Served, ask
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.glass import Header, glass, with_header
from glassformer.server.v1.logprobs import chat_logprobs
from glassformer.server.v1.responses import FINGERPRINT, in_one_piece, refusals, usage
from glassformer.server.v1.services import ClientAnswers, base_of
from glassformer.server.v1.stream import Streamed, event, in_pieces
from glassformer.server.v1.template import chat_ids

router = APIRouter(responses=refusals())


@router.post("/v1/chat/completions", response_model=schemas.ChatCompletion)
async def chat(
    request: schemas.ChatRequest,
    http: Request,
    answers: ClientAnswers,
    x_glass: Header = None,
) -> Response:
    """Continue a chat; with `stream`, as server-sent events."""
    request = with_header(request, x_glass)
    if request.top_logprobs is not None and not request.logprobs:
        raise FieldError("top_logprobs", "it goes with logprobs: true; give both")
    served, prompt = await answers.ready(
        request.model,
        lambda served: chat_ids(served, request.messages),
        sum(len(message.text) for message in request.messages),
    )
    answer = Answer("chatcmpl", served.run, at_once=not request.stream)
    limits = (request.max_completion_tokens, request.max_tokens, served.defaults.max_new_tokens)
    ask(
        served,
        answer,
        [prompt],
        request,
        most=next((limit for limit in limits if limit is not None), None),
        logprobs=request.top_logprobs or 0 if request.logprobs else None,
    )
    answers.began("chat", answer, http)
    writer = Writer(served, request, answer, base_of(http))
    if request.stream:
        return Streamed(answer, writer.chunks())
    async for _ in answer.news():
        pass
    return in_one_piece(await writer.complete())


class Writer:
    """Writes the choices of an answer, as far as they are."""

    def __init__(
        self, served: Served, request: schemas.ChatRequest, answer: Answer, base: str
    ) -> None:
        self._tokenizer, self._request = served.tokenizer, request
        self._answer, self._base = answer, base
        self._tokens = [0] * len(answer.choices)
        self._about: dict[str, Any] = {
            "id": answer.id,
            "created": answer.created,
            "model": answer.model,
            "system_fingerprint": FINGERPRINT,
        }

    async def complete(self) -> schemas.ChatCompletion:
        choices: list[schemas.ChatChoice] = []
        for choice in self._answer.choices:
            part = self._piece(choice, role=None)
            assert part.finish_reason is not None, "all has come"
            choices.append(
                schemas.ChatChoice(
                    index=part.index,
                    message=schemas.ChatMessage(content=part.delta.content or ""),
                    logprobs=part.logprobs,
                    finish_reason=part.finish_reason,
                    glass=part.glass,
                )
            )
            await asyncio.sleep(0)  # others have their turn
        spent = usage(self._answer)
        return schemas.ChatCompletion(**self._about, choices=choices, usage=spent)

    async def chunks(self) -> AsyncIterator[str]:
        begun = [False] * len(self._answer.choices)
        ended = [False] * len(self._answer.choices)

        def events() -> Iterator[str]:
            for choice in self._answer.choices:
                if ended[choice.index] or not (choice.has_news or choice.done):
                    continue
                part = self._piece(choice, None if begun[choice.index] else "assistant")
                begun[choice.index], ended[choice.index] = True, part.finish_reason is not None
                yield event(schemas.ChatChunk(**self._about, choices=[part]))

        async for _ in self._answer.news():
            async for piece in in_pieces(events()):
                yield piece
        options = self._request.stream_options
        if options is not None and options.include_usage:
            yield event(schemas.ChatChunk(**self._about, choices=[], usage=usage(self._answer)))

    def _piece(self, choice: Choice, role: str | None) -> schemas.ChatPiece:
        text, new, done = choice.take()
        looked = None
        if self._request.glass and choice.text is not None:
            ids, first = [one.token for one in new], self._tokens[choice.index]
            run = self._answer.model
            looked = glass(self._tokenizer, choice.text, first, ids, run, self._base)
        self._tokens[choice.index] += len(new)
        return schemas.ChatPiece(
            index=choice.index,
            delta=schemas.ChatDelta(role="assistant" if role else None, content=text),
            logprobs=chat_logprobs(self._tokenizer, new) if self._request.logprobs else None,
            finish_reason=choice.finish_reason if done else None,
            glass=looked,
        )
