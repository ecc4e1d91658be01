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


def glass(
    tokenizer: Tokenizer, text: Text, first: int, tokens: Sequence[int], run: str, base: str
) -> list[schemas.GlassToken]:
    """Of tokens from index `first` of a text on; base: the server's address."""
    result: list[schemas.GlassToken] = []
    for index, token in enumerate(tokens, first):
        new = text.new[:index]
        if text.source is None:
            fields = _fields(tokenizer, text.prompt, new)
        else:
            fields = _fields_of_translation(tokenizer, text.source, new)
        draw = {**text.sampling.to_dict(), "seed": text.seed, "index": index}
        query = {"at": LAST, "run": run, "draw": json.dumps(draw), **(fields or {})}
        result.append(
            schemas.GlassToken(
                token=token,
                text=name(tokenizer, token),
                address=_address(text, index, token),
                link=None if fields is None else f"{base}#/story?{urlencode(query)}",
            )
        )
    return result


def _address(text: Text, index: int, token: int) -> str | None:
    """What `explain` calls the choice; of a translation it knows the likeliest words alone."""
    if text.source is None:
        return f"@token={index} {LAST}" if index else LAST
    is_likeliest = text.sampling.greedy and text.sampling.repetition_penalty == 1
    return f"fwd/probs[pos={index}, vocab={token}]" if is_likeliest else None


def _fields_of_translation(
    tokenizer: Tokenizer, source: list[int], new: list[int]
) -> dict[str, str] | None:
    """What the page's address says of a source and of its translation so far."""
    start = tokenizer.decode_known(source)
    try:
        if tokenizer.encode_source(start) != source:
            return None
    except GlassformerError:  # as in `_encoded`
        return None
    written = {"start": start, "at": len(new), "tokens": [(token, "") for token in new]}
    return {"prompt": start, "drawn": json.dumps({**written, "of": "written"})}


def _fields(tokenizer: Tokenizer, prompt: list[int], new: list[int]) -> dict[str, str] | None:
    """What the page's address says of a text: itself, or a text and the tokens drawn after it."""
    completion = _spelled(tokenizer, [*prompt, *new])
    if completion is not None:
        return {"prompt": completion}
    start = _spelled(tokenizer, prompt)
    if start is None:
        return None
    parts: list[tuple[int, str]] = []
    before = tokenizer.decode_known(prompt)
    for n, token in enumerate(new, 1):
        after = tokenizer.decode_known([*prompt, *new[:n]])
        parts.append((token, after[len(before) :] if after.startswith(before) else ""))
        before = after
    drawn = {"start": start, "at": len(parts), "tokens": parts}
    return {"prompt": start + "".join(piece for _, piece in parts), "drawn": json.dumps(drawn)}


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
