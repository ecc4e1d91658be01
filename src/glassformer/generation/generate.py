"""Tokens one after another: ask the model, choose, append, ask again."""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

from torch import Tensor

from glassformer.checked import COUNT, Range, whole
from glassformer.errors import GlassformerError
from glassformer.generation.defaults import read_defaults
from glassformer.generation.generation import Generation, TextBatch
from glassformer.generation.packed import PackedModel, refuse_encoder, unpacked
from glassformer.generation.sampling import fresh_seed
from glassformer.generation.sourced import SourcedModel
from glassformer.model.decoder import Decoder
from glassformer.model.encoder_decoder import EncoderDecoder
from glassformer.model.ids import Ids, one_text
from glassformer.model.kinds import AnyModel
from glassformer.model.texts import Texts


def generate(
    model: AnyModel | PackedModel,
    ids: Ids | None = None,
    *,
    source: Texts | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    stop_ids: Collection[int] = (),
    use_cache: bool = True,
) -> Generation:
    """Continue a text, token by token: ``for token in generate(model, ids, ...)``.

    The settings are those of `Sampling`. Those that are left out, and `max_new_tokens`, are as the
    folder of a loaded model says in its generation_config.json; `Generation.sampling` says what
    they are. The text ends after `max_new_tokens` (if nobody says how many: no limit), at a token
    of `stop_ids`, or when the context is full: the model reads at most n_ctx tokens, and the one
    after the last of them is still given. One number is drawn per token, from `seed` and the
    token's index alone: the same seed gives the same text with and without `use_cache`, alone and
    in a batch. seed=None draws a fresh one; `Generation.seed` says which. `pack(model)` lays a
    large model's weights out so that many tokens come faster.

    `ids` are one text's, [pos] or [1, pos]; `generate_batch` continues several. An encoder-decoder
    reads a `source`, a text or ids, and writes from its start token on where no ids are given.

    Errors: no token, a token outside the vocabulary, more tokens than n_ctx, settings out of range,
    scores that are no numbers.

    >>> from glassformer.model import Config
    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3))
    >>> text = generate(model, [1, 2, 3], temperature=0)
    >>> len(list(text)), text.finish_reason
    (6, 'context')
    """
    sampling = _SamplingArguments(temperature, top_k, top_p, min_p, repetition_penalty)
    end = (max_new_tokens, stop_ids, use_cache)
    prompt = _start(model) if ids is None else one_text(ids)
    return _prepare(_reading(model, source, 1), [prompt], sampling, seed, *end)[0].texts[0]


def generate_batch(
    model: AnyModel | PackedModel,
    prompts: Sequence[Ids] | Tensor | None = None,
    *,
    sources: Texts | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    stop_ids: Collection[int] = (),
    use_cache: bool = True,
) -> list[Generation]:
    """Continue several texts of any lengths at once, each to its end.

    Text number i is what ``generate(model, prompts[i], seed=seed + i, ...)`` gives: every text has
    its own positions, its own context and its own numbers. A finished text leaves the batch. Those
    of a small model with a compiled step come one after another; it is the quicker way. An
    encoder-decoder has a source for each, filled up with its `pad_id` where they are ids.
    """
    sampling = _SamplingArguments(temperature, top_k, top_p, min_p, repetition_penalty)
    end = (max_new_tokens, stop_ids, use_cache)
    if prompts is None:
        n = 1 if sources is None or isinstance(sources, str) else len(sources)
        texts = [_start(model) for _ in range(n)]
    else:
        texts = [one_text(ids) for ids in prompts]
    batches = _prepare(_reading(model, sources, len(texts)), texts, sampling, seed, *end)
    for batch in batches:
        while batch.unfinished:
            batch.advance()
    return [text for batch in batches for text in batch.texts]


def _start(model: AnyModel | PackedModel) -> list[int]:
    """What an encoder-decoder's text begins with."""
    if not isinstance(model, EncoderDecoder):
        raise GlassformerError("a decoder goes on from a text; give it some ids")
    return [model.config.start_id]


def _reading(
    model: AnyModel | PackedModel, source: Texts | None, n: int
) -> PackedModel | SourcedModel:
    """What is asked for the tokens of n texts; of two towers, when the encoder has run."""
    refuse_encoder(model)
    if isinstance(model, EncoderDecoder):
        if source is None:
            raise GlassformerError(
                "an encoder-decoder reads a source beside the target; give source=, a text or ids"
            )
        return SourcedModel(model, source, n)
    if source is not None:
        raise GlassformerError("a decoder has no source; give its text as ids")
    return model if isinstance(model, PackedModel) else unpacked(cast("Decoder", model))


class _SamplingArguments(NamedTuple):
    """The settings of `Sampling` that a caller named; None: as the model's folder says."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None


def _prepare(
    packed: PackedModel | SourcedModel,
    prompts: list[list[int]],
    arguments: _SamplingArguments,
    seed: int | None,
    max_new_tokens: int | None,
    stop_ids: Collection[int],
    use_cache: bool,
) -> list[TextBatch]:
    """The texts before their first new token, in the batches that are continued together."""
    first = fresh_seed() if seed is None else whole("seed", seed, Range())
    seeds = [first + i for i in range(len(prompts))]
    defaults = read_defaults(packed.model.folder_settings)
    sampling = defaults.sampling(**arguments._asdict())
    asked = None if max_new_tokens is None else whole("max_new_tokens", max_new_tokens, COUNT)
    most = [defaults.most_new(len(p)) if asked is None else asked for p in prompts]
    alone = packed.compiled is not None and packed.small and use_cache
    by_length = packed.config.turns_by_length > 0  # of one text, not of the longest
    size = 1 if alone or by_length else max(len(prompts), 1)
    end = (_token_ids(stop_ids), use_cache)
    return [
        TextBatch(packed, prompts[part], seeds[part], sampling, most[part], *end)
        for part in (slice(i, i + size) for i in range(0, len(prompts), size))
    ]


def _token_ids(stop_ids: Collection[int]) -> frozenset[int]:
    try:
        return frozenset(operator.index(token) for token in stop_ids)
    except TypeError:
        raise GlassformerError(
            f"stop_ids={stop_ids!r} must be ids of tokens, such as [tokenizer.eos_id]"
        ) from None
