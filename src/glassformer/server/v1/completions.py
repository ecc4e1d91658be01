"""POST /v1/completions: texts are continued, or their own tokens are scored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request, Response

from glassformer.generation.batch import Chosen
from glassformer.generation.defaults import start_ids
from glassformer.server.v1 import schemas
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.choice import Choice
from glassformer.server.v1.engines import Served, ask
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.glass import Header, with_header
from glassformer.server.v1.logprobs import text_logprobs
from glassformer.server.v1.responses import in_one_piece, refusals, usage
from glassformer.server.v1.services import ClientAnswers, base_of
from glassformer.server.v1.stream import Streamed
from glassformer.server.v1.writer import Writer

Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]

MAX_TOKENS = 16
"""How many tokens follow where nobody says; OpenAI's own default."""

router = APIRouter(responses=refusals())


@router.post("/v1/completions", response_model=schemas.Completion)
async def complete(
    request: schemas.CompletionRequest,
    http: Request,
    answers: ClientAnswers,
    x_glass: Header = None,
) -> Response:
    """Continue a text, or several; with `stream`, as server-sent events."""
    request = with_header(request, x_glass)
    served, prompts = await answers.ready(
        request.model, lambda served: prompts_of(served, request.prompt), _size(request.prompt)
    )
    if request.echo and served.towers is not None:
        raise FieldError(
            "echo", f"{served.run} translates, and writes no source again; leave it out"
        )
    answer = Answer("cmpl", served.run, at_once=not request.stream)
    limits = (request.max_tokens, served.defaults.max_new_tokens)
    most = next((limit for limit in limits if limit is not None), None)
    if most is None and served.towers is None:
        most = MAX_TOKENS
    ask(
        served,
        answer,
        prompts,
        request,
        most=most,
        logprobs=request.logprobs,
        score=bool(request.echo),
    )
    answers.began("completions", answer, http)
    writer = TextWriter(served, request, answer, base_of(http))
    if request.stream:
        return Streamed(answer, writer.parts())
    async for _ in answer.news():
        pass
    return in_one_piece(await writer.whole())


def prompts_of(served: Served, prompt: Prompt) -> list[list[int]]:
    """The tokens of a request's prompt, or of each of its prompts."""
    if isinstance(prompt, str):
        return [_read(served, prompt)]
    ids = [one for one in prompt if isinstance(one, int)]
    if ids:
        return [ids]
    return [
        _read(served, one) if isinstance(one, str) else [*one]
        for one in prompt
        if not isinstance(one, int)
    ]


def _read(served: Served, text: str) -> list[int]:
    """The tokens of a text that is continued, or translated."""
    if served.towers is None:
        return start_ids(served.tokenizer, text)
    if not served.tokenizer.encode(text):
        raise FieldError("prompt", "there are no words to translate; give it some")
    return served.tokenizer.encode_source(text)


def _size(prompt: Prompt) -> int:
    """Its characters, and its ids."""
    if isinstance(prompt, str):
        return len(prompt)
    return sum(1 if isinstance(one, int) else len(one) for one in prompt)


class TextWriter(Writer):
    """Writes continued texts."""

    def __init__(
        self, served: Served, request: schemas.CompletionRequest, answer: Answer, base: str
    ) -> None:
        super().__init__(served, request, answer, base)
        self._request = request
        self._tokens = [0] * len(answer.choices)  # of each choice, how many are written

    def part(self, choice: Choice, is_first: bool) -> schemas.Completion:
        return schemas.Completion(**self.about, choices=[self._choice(choice, is_first)])

    def end(self, spent: schemas.Usage) -> schemas.Completion:
        return schemas.Completion(**self.about, choices=[], usage=spent)

    async def whole(self) -> schemas.Completion:
        """The answer in one piece."""
        choices: list[schemas.TextChoice] = []
        for choice in self.answer.choices:
            choices.append(await self.written(partial(self._choice, choice, is_first=True)))
        return schemas.Completion(**self.about, choices=choices, usage=usage(self.answer))

    def _choice(self, choice: Choice, is_first: bool) -> schemas.TextChoice:
        """What is new of a choice; the first time with its prompt, if it is to be repeated."""
        tokenizer, request, index = self.tokenizer, self._request, choice.index
        text, new, done = choice.take()
        scored: list[Chosen] = []
        read = [] if choice.alone else choice.prompt
        before = read + [one.token for one in choice.chosen[: self._tokens[index]]]
        if is_first and request.echo:
            text = tokenizer.decode_known(choice.prompt) + text
            scored, before = self._scores(choice), []
        logprobs = None
        if request.logprobs is not None:
            start = 0 if request.echo else len(read)
            logprobs = text_logprobs(tokenizer, before, [*scored, *new], start)
        self._tokens[index] += len(new)
        return schemas.TextChoice(
            index=index,
            text=text,
            logprobs=logprobs,
            finish_reason=choice.finish_reason if done else None,
            glass=self.glass(choice, new),
        )

    def _scores(self, choice: Choice) -> list[Chosen]:
        """The prompt's own; of several choices of one prompt the first has them."""
        same = [one for one in self.answer.choices if one.prompt is choice.prompt]
        return same[0].prompt_scores
