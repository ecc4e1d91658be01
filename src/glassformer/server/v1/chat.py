"""POST /v1/chat/completions: the assistant's next message."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from glassformer.server.v1 import schemas
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.choice import Choice
from glassformer.server.v1.engines import Served, ask
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.glass import Header, with_header
from glassformer.server.v1.logprobs import chat_logprobs
from glassformer.server.v1.responses import in_one_piece, refusals, usage
from glassformer.server.v1.services import ClientAnswers, base_of
from glassformer.server.v1.stream import Streamed
from glassformer.server.v1.template import chat_ids
from glassformer.server.v1.writer import Writer

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
    writer = ChatWriter(served, request, answer, base_of(http))
    if request.stream:
        return Streamed(answer, writer.parts())
    async for _ in answer.news():
        pass
    return in_one_piece(await writer.whole())


class ChatWriter(Writer):
    """Writes the assistant's messages."""

    def __init__(
        self, served: Served, request: schemas.ChatRequest, answer: Answer, base: str
    ) -> None:
        super().__init__(served, request, answer, base)
        self._tells_logprobs = request.logprobs

    def part(self, choice: Choice, is_first: bool) -> schemas.ChatChunk:
        return schemas.ChatChunk(**self.about, choices=[self._piece(choice, is_first)])

    def end(self, spent: schemas.Usage) -> schemas.ChatChunk:
        return schemas.ChatChunk(**self.about, choices=[], usage=spent)

    async def whole(self) -> schemas.ChatCompletion:
        """The answer in one piece."""
        choices: list[schemas.ChatChoice] = []
        for choice in self.answer.choices:
            part = await self.written(partial(self._piece, choice, is_first=True))
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
        return schemas.ChatCompletion(**self.about, choices=choices, usage=usage(self.answer))

    def _piece(self, choice: Choice, is_first: bool) -> schemas.ChatPiece:
        text, new, done = choice.take()
        return schemas.ChatPiece(
            index=choice.index,
            delta=schemas.ChatDelta(role="assistant" if is_first else None, content=text),
            logprobs=chat_logprobs(self.tokenizer, new) if self._tells_logprobs else None,
            finish_reason=choice.finish_reason if done else None,
            glass=self.glass(choice, new),
        )
