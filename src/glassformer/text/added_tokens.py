"""A text taken apart at the tokens that were added beside a tokenizer's model, as engines do.

First come the added tokens that stand in the text as it is. What lies between them is normalized;
then come those that stand in the normalized text; what lies between these is split into words.
Source: github.com/huggingface/tokenizers, `AddedVocabulary::extract_and_normalize`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import tokenizers


class Part(NamedTuple):
    """A part of a text: an added token's id, or the words that it is split into, normalized."""

    text: str
    added: int | None
    words: tuple[str, ...] = ()


def parts(
    engine: tokenizers.Tokenizer,
    content: Mapping[str, Any],
    split: Callable[[str], list[str]],
    text: str,
    special: bool = False,
) -> Iterator[Part]:
    """Yield the parts of a text, in order; `special`: special tokens in it are tokens too."""
    added = {
        token_id: token
        for token_id, token in engine.get_added_tokens_decoder().items()
        if special or not token.special
    }
    if not added:
        yield Part(text, None, tuple(split(text)))
        return
    normalizer = engine.normalizer
    raw, written = {}, {}
    for token_id, token in added.items():
        if normalizer is None or not token.normalized:
            raw[token_id] = token_id
        else:
            written[normalizer.normalize_str(token.content)] = token_id
    inner = _inner(content, {token_id: name for name, token_id in written.items()})
    ids = inner.get_vocab()
    result = {ids[name]: token_id for name, token_id in written.items()}
    begin = 0
    for stretch, added_id in _between(engine, text, raw):
        if added_id is not None:
            yield Part(stretch, added_id)
        else:
            normal = normalizer.normalize_str(stretch) if normalizer else stretch
            starts_text = begin == 0
            for inside, inner_id in _between(inner, normal, result):
                if inner_id is not None:
                    yield Part(inside, inner_id)
                elif inside:
                    splitter = (engine if starts_text else inner).pre_tokenizer
                    words = splitter.pre_tokenize_str(inside) if splitter else [(inside, None)]
                    yield Part(inside, None, tuple(word for word, _ in words))
                starts_text = False
        begin += len(stretch)


def _between(
    engine: tokenizers.Tokenizer, text: str, ids: Mapping[int, int]
) -> Iterator[tuple[str, int | None]]:
    """Yield the stretches of a text between some tokens, with None, and them with their `ids`."""
    begin = 0
    encoding = engine.encode(text, add_special_tokens=False)
    for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token_id in ids:
            if begin < start:
                yield text[begin:start], None
            yield text[start:end], ids[token_id]
            begin = end
    if begin < len(text):
        yield text[begin:], None


def _inner(content: Mapping[str, Any], names: Mapping[int, str]) -> tokenizers.Tokenizer:
    """The engine for normalized text that may stand in a text's middle; `names` of added tokens."""
    added = [
        {**token, "content": names[token["id"]], "normalized": False}
        for token in content["added_tokens"]
        if token["id"] in names
    ]
    later = json.dumps(content["pre_tokenizer"]).replace(
        '"prepend_scheme": "first"', '"prepend_scheme": "never"'
    )
    engine = tokenizers.Tokenizer.from_str(
        json.dumps(
            {
                **content,
                "normalizer": None,
                "pre_tokenizer": json.loads(later),
                "post_processor": None,
                "added_tokens": added,
            }
        )
    )
    engine.encode_special_tokens = True
    return engine
