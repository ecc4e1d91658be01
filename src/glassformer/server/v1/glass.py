"""Where the choice of a token can be looked into: its address, and a link to the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlencode

import fastapi

from glassformer.errors import GlassformerError
from glassformer.generation.batch import Text
from glassformer.generation.rules import Rules
from glassformer.generation.stream import TextStream
from glassformer.server.v1 import schemas
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.logprobs import name
from glassformer.text.tokenizer import Tokenizer

LAST = "choose/token"
"""The node of a trace that is the chosen token."""

Header = Annotated[
    bool | None,
    fastapi.Header(
        alias="x-glass",
        description="As the field `glass`, for clients that send no field of ours.",
    ),
]

Wish = TypeVar("Wish", bound=schemas.Request)


def with_header(request: Wish, header: bool | None) -> Wish:
    """The request, with what the header says where it says nothing of glass itself."""
    if header is None or request.glass is not None:
        return request
    return request.model_copy(update={"glass": header})


def refuse_unshown(request: schemas.Request, rules: Rules) -> None:
    """Raise where a choice could not be shown as it was made."""
    if not request.glass:
        return
    if request.logit_bias:
        raise FieldError(
            "glass", "a trace knows no logit_bias, so it can't show such a choice; leave one out"
        )
    if any(rules):
        raise FieldError(
            "glass",
            "the model's folder forces or forbids tokens in its generation_config.json, which a"
            " trace does not; leave it out",
        )


class Glass:
    """Where each token of a text was chosen, as they come; base: the server's address."""

    def __init__(self, tokenizer: Tokenizer, text: Text, run: str, base: str) -> None:
        self._tokenizer, self._text = tokenizer, text
        self._run, self._base = run, base
        self._told = 0
        self._place = _place_of(tokenizer, text)

    def tokens(self, ids: Sequence[int]) -> list[schemas.GlassToken]:
        """The next ones."""
        result: list[schemas.GlassToken] = []
        for token in ids:
            index = self._told
            self._told += 1
            fields = self._place.fields(self._text.new[:index])
            result.append(
                schemas.GlassToken(
                    token=token,
                    text=name(self._tokenizer, token),
                    address=_address(self._text, index, token),
                    link=None if fields is None else self._link(index, fields),
                )
            )
        return result

    def _link(self, index: int, fields: dict[str, str]) -> str:
        query = {**_at_choice(self._text, index), "run": self._run, **fields}
        return f"{self._base}#/story?{urlencode(query)}"


def first_choice(tokenizer: Tokenizer, text: Text, is_made: bool) -> dict[str, str]:
    """What the page's address says of a text's first choice, or else of its prompt alone."""
    fields = _place_of(tokenizer, text).fields([])
    if fields is None:
        return {"prompt": tokenizer.decode_known(text.source or text.prompt)}
    is_shown = is_made and not text.bias and not any(text.rules)  # as `refuse_unshown` has it
    return {**(_at_choice(text, 0) if is_shown else {}), **fields}


def _at_choice(text: Text, index: int) -> dict[str, str]:
    """What the page's address says of how a token was chosen."""
    draw = {**text.sampling.to_dict(), "seed": text.seed, "index": index}
    return {"at": LAST, "draw": _json(draw)}


def _address(text: Text, index: int, token: int) -> str | None:
    """What `explain` calls the choice; of a translation it knows the likeliest words alone."""
    if text.source is None:
        return f"@token={index} {LAST}" if index else LAST
    is_likeliest = text.sampling.greedy and text.sampling.repetition_penalty == 1
    return f"fwd/probs[pos={index}, vocab={token}]" if is_likeliest else None


class _Translation:
    """What the page's address says of a source and of its translation so far."""

    def __init__(self, tokenizer: Tokenizer, text: Text) -> None:
        assert text.source is not None
        self._source = tokenizer.decode_known(text.source)
        try:
            self._is_spelled = tokenizer.encode_source(self._source) == text.source
        except GlassformerError:  # as in `_encoded`
            self._is_spelled = False

    def fields(self, new: list[int]) -> dict[str, str] | None:
        if not self._is_spelled:
            return None
        tokens = [(token, "") for token in new]
        drawn = {"start": self._source, "at": len(new), "tokens": tokens, "of": "written"}
        return {"prompt": self._source, "drawn": _json(drawn)}


class _Continuation:
    """What the page's address says of a text: itself, or a text and the tokens that follow it.

    Of a chat, whose marks between messages no text spells, all tokens follow the empty text.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: list[int]) -> None:
        self._tokenizer, self._prompt = tokenizer, prompt
        start, begin = _spelled(tokenizer, prompt), tokenizer.begin_ids
        self._start = start or ""
        before = [*begin] if start is None else prompt
        self._is_known = prompt[: len(before)] == before
        self._stream = TextStream(tokenizer, before if start else ())
        self._n_before = len(before)
        self._tokens: list[tuple[int, str]] = []

    def fields(self, new: list[int]) -> dict[str, str] | None:
        ids = [*self._prompt, *new]
        text = _spelled(self._tokenizer, ids)
        if text is not None:
            return {"prompt": text}
        if not self._is_known or max(ids) >= self._tokenizer.vocab_size:
            return None
        for token in ids[self._n_before + len(self._tokens) :]:
            self._tokens.append((token, self._stream.push(token)))
        drawn = {"start": self._start, "at": len(self._tokens), "tokens": self._tokens}
        drawn["first"] = self._n_before - len(self._prompt)
        text = self._start + "".join(piece for _, piece in self._tokens)
        return {"prompt": text, "drawn": _json(drawn)}


def _place_of(tokenizer: Tokenizer, text: Text) -> _Continuation | _Translation:
    """Where a text stands in the page's address."""
    if text.source is not None:
        return _Translation(tokenizer, text)
    return _Continuation(tokenizer, text.prompt)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _spelled(tokenizer: Tokenizer, ids: list[int]) -> str | None:
    """The text that has these tokens, if there is one."""
    begin = tokenizer.begin_ids
    text = tokenizer.decode_known(ids[len(begin) :])
    return text if text and _encoded(tokenizer, text) == ids else None


def _encoded(tokenizer: Tokenizer, text: str) -> list[int] | None:
    try:
        return tokenizer.encode_prompt(text)
    except GlassformerError:  # a word that is not in the vocabulary, such as a broken character
        return None
