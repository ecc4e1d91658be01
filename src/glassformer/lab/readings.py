"""Readings: what a model knows and where, from its values, its embeddings and its own prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from glassformer.lab import embeddings
from glassformer.lab.changes import watch_text
from glassformer.lab.embeddings import Neighbor, nearest
from glassformer.lab.in_context_learning import Repeats, measure_repeats, readable_tokens
from glassformer.lab.logit_attribution import Attribution, attribute
from glassformer.lab.logit_lens import Glimpse, logit_lens
from glassformer.model.ids import refuse_outside
from glassformer.model.kinds import AnyModel, OneTower
from glassformer.model.texts import Texts, known_tokenizer
from glassformer.trace import Trace
from glassformer.training.train_state import token_of


def lens(model: AnyModel, text: Texts | Trace) -> list[Glimpse]:
    """What the model would say after each layer: the stream read as if it were the last.

    text: a text, or a trace of one, in which the readings are then recorded too, under
    ``fwd/lens.POINT.probs``. Each glimpse has `probs` [pos, vocab] and its `best` guesses.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> [glimpse.best(n=1)[0].word for glimpse in lens(model, "the cat sat on")]
    ['cat', 'cat']
    """
    return logit_lens(model, _trace(model, text))


def attribution(
    model: AnyModel, text: Texts | Trace, token: str | int | None = None, pos: int = -1
) -> Attribution:
    """One logit as the sum of what each part of the model wrote towards it, in logits.

    token: whose logit, as a word or an id; None: the most probable one's. pos: after which token,
    from 0, or -1 for the last.

    Errors: an edited stream; see `glassformer.lab.logit_attribution`.
    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> result = attribution(model, "the cat sat on", "mat")
    >>> abs(result.total - result.logit) < 1e-6, result.shares[0].part
    (True, 'token embedding')
    """
    trace = _trace(model, text)
    if isinstance(token, str):
        token = token_of(known_tokenizer(model.tokenizer), token)
    return attribute(model.config, trace, token, pos)


def neighbors(model: AnyModel, word: str | int, n: int = 10) -> list[Neighbor]:
    """The n tokens whose embeddings point most nearly the same way as one's, the nearest first.

    word: a token's text, or its id.

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> len(neighbors(model, "cat", n=3))
    3
    """
    return _named(model, nearest(_table(model), _token(model, word), n))


def analogy(
    model: AnyModel, a: str | int, b: str | int, c: str | int, n: int = 10
) -> list[Neighbor]:
    """The tokens nearest to a - b + c, each brought to length 1 first: as a to b, so ... to c.

    Source: Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word Representations".
    """
    words = [_token(model, word) for word in (a, b, c)]
    return _named(model, embeddings.analogy(_table(model), words[0], words[1], words[2], n))


def in_context(model: OneTower, tokens: Sequence[int] | None = None) -> Repeats:
    """What the model learns from its own prompt, on random tokens that come a second time.

    tokens: the ids that are drawn from; None: all that stand for text. The result has `loss` [pos]
    in nats and the `induction` score [layer, head] of every head, in 0 to 1.

    Source: Olsson et al. 2022, "In-context Learning and Induction Heads".

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> in_context(model).induction.shape
    torch.Size([1, 1])
    """
    if tokens is None and model.tokenizer is not None:
        tokens = readable_tokens(model.tokenizer)
    elif tokens is None:
        tokens = range(model.config.vocab_size)
    return measure_repeats(model, tokens)


def _trace(model: AnyModel, text: Texts | Trace) -> Trace:
    return text if isinstance(text, Trace) else watch_text(model, text)


def _token(model: AnyModel, word: str | int) -> int:
    """A token's id from its text, or from itself if there is such a one."""
    if isinstance(word, str):
        return token_of(known_tokenizer(model.tokenizer), word)
    refuse_outside(torch.tensor(word), len(_table(model)))
    return word


def _table(model: AnyModel) -> Tensor:
    """The embeddings of the tokens that have a text."""
    W_E = model.embed.W_E
    return W_E if model.tokenizer is None else W_E[: model.tokenizer.vocab_size]


def _named(model: AnyModel, neighbors: list[Neighbor]) -> list[Neighbor]:
    if model.tokenizer is None:
        return neighbors
    return [replace(neighbor, word=model.tokenizer.token(neighbor.token)) for neighbor in neighbors]
