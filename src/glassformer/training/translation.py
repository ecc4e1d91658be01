"""Training on translations and measuring against them: the floor, and how many are exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.generation.defaults import end_ids
from glassformer.generation.generate import generate
from glassformer.model import EncoderDecoder, TowersConfig
from glassformer.model.evaluating import evaluating
from glassformer.text import translation
from glassformer.text.blocks import IGNORED, numbers_of_batch
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.translation import Pair
from glassformer.training.data import Batch, filled
from glassformer.training.recipe import Recipe

MOST_PAIRS = 40_000  # to train on; a longer run sees some of them again
HELD_OUT = 500  # pairs
FRESH = 500  # pairs that `measure` writes, of a seed that no training uses
FRESH_SEED = "fresh"
ROWS = 100  # pairs at once
TO_TRANSLATE = (
    "the black cat does not see the red flower",
    "Hello, Anna.",
    "my friend reads an old book",
    "The small girls sing under the tree.",
)
"""Sentences to begin with; all their words are in the corpus."""


def pairs_to_learn(language: str, seed: int | str, n: int) -> Iterator[Pair]:
    """The first n pairs of a seed whose sources are not held out."""
    pairs = translation.pairs(f"training {seed}", language)
    return islice((pair for pair in pairs if not pair.is_held_out), n)


def pairs_held_out(language: str, seed: int | str, n: int) -> Iterator[Pair]:
    """The first n pairs of a seed whose sources no model is trained on."""
    pairs = translation.pairs(f"held out {seed}", language)
    return islice((pair for pair in pairs if pair.is_held_out), n)


def translation_tokenizer(language: str) -> Tokenizer:
    """A tokenizer of all words of English and of a language."""
    pairs = pairs_to_learn(language, "vocabulary", 5_000)
    return Tokenizer.of_sentences(text for pair in pairs for text in (pair.source, pair.target))


def write_translation(folder: Path, tokenizer: Tokenizer, recipe: Recipe, language: str) -> float:
    """Write a run's pairs, source before target, those held out last.

    Return the floor, nats per token of the held-out targets.
    """
    n = min(MOST_PAIRS, recipe.steps * recipe.blocks_per_step)
    held_out = [*pairs_held_out(language, recipe.seed, HELD_OUT)]
    pairs = (*pairs_to_learn(language, recipe.seed, n), *held_out)
    write_shard(folder, (text for pair in pairs for text in (pair.source, pair.target)), tokenizer)
    return translation.floor(held_out, tokenizer)


def towers_of(
    preset: dict[str, Any], choices: dict[str, Any], tokenizer: Tokenizer
) -> TowersConfig:
    """The two towers of a preset, both with the sizes that a person chose."""
    towers = dict(preset)
    for name in ("encoder", "decoder"):
        sizes = {**preset[name], **choices, "vocab_size": tokenizer.vocab_size}
        sizes["d_mlp"] = sizes["d_mlp"] * sizes["d_model"] // preset[name]["d_model"]
        sizes["embed_scale"] = sizes["d_model"] ** 0.5
        towers[name] = sizes
    ids = {"pad_id": tokenizer.pad_id, "start_id": tokenizer.bos_id}
    return TowersConfig.from_dict({**towers, **ids})


def describe_translation(
    folder: Path, model: EncoderDecoder, tokenizer: Tokenizer, recipe: Recipe, language: str
) -> dict[str, Any]:
    """Write a run's pairs; what run.json says of them."""
    floor = write_translation(folder, tokenizer, recipe, language)
    shard = Shard(folder, tokenizer=tokenizer)
    longest = int(np.diff(shard.starts(slice(None)), append=len(shard)).max())
    room = min(model.config.encoder.n_ctx, model.config.decoder.n_ctx)
    if longest > room:
        raise GlassformerError(
            f"a sentence has up to {longest} tokens and n_ctx={room}; leave --n-ctx out"
        )
    ids = {"pad_id": model.config.pad_id, "start_id": model.config.start_id}
    return {"kind": "translation", "language": language, "floor": floor, **ids}


def open_translation(
    folder: Path, tokenizer: Tokenizer, seed: int, corpus: Mapping[str, Any]
) -> PairsData:
    """The pairs of a run; `corpus` is what `describe_translation` said of them."""
    shard = Shard(folder, tokenizer=tokenizer)
    return PairsData(shard, corpus["pad_id"], corpus["start_id"], seed, corpus["floor"])


class PairsData:
    """Pairs of sentences, pass after pass in an order that `seed` decides.

    A batch holds targets behind `start_id`, and sources; both are filled up with `pad_id` to the
    longest of the batch.
    """

    def __init__(self, shard: Shard, pad_id: int, start_id: int, seed: int, floor: float) -> None:
        n = len(shard.documents) // 2
        if n <= HELD_OUT or len(shard.documents) % 2:
            raise GlassformerError(
                f"{shard.folder} holds {len(shard.documents):,} sentences, and {HELD_OUT} pairs are"
                " held out alone; restore it or train again"
            )
        self.shard, self.pad_id, self.start_id = shard, pad_id, start_id
        self.seed, self._floor = seed, floor
        self.n_train = n - HELD_OUT
        self._ends = np.append(shard.starts(slice(1, None)), len(shard))
        self._starts = shard.starts(slice(None))

    def batch(self, number: int, rows: int) -> Batch:
        return self._batch(numbers_of_batch(self.n_train, self.seed, number, rows))

    def held_out(self, rows: int) -> Iterator[Batch]:
        for first in range(self.n_train, self.n_train + HELD_OUT, rows):
            yield self._batch(np.arange(first, min(first + rows, self.n_train + HELD_OUT)))

    def _batch(self, pairs: Sequence[int] | np.ndarray) -> Batch:
        sources = [self._sentence(2 * int(pair)) for pair in pairs]
        targets = [self._sentence(2 * int(pair) + 1) for pair in pairs]
        return filled_batch(sources, targets, self.pad_id, self.start_id)

    def _sentence(self, number: int) -> list[int]:
        """The tokens of a sentence and the one that ends it."""
        ids: list[int] = self.shard.ids(slice(self._starts[number], self._ends[number])).tolist()
        return ids

    @property
    def holds_out(self) -> bool:
        return True

    def counts(self) -> Int[Tensor, " vocab"]:
        sentences = (self._sentence(2 * pair + 1) for pair in range(self.n_train))
        ids = np.fromiter((i for sentence in sentences for i in sentence), np.int64)
        return torch.from_numpy(np.bincount(ids, minlength=self.shard.header.vocab_size))

    @property
    def n_tokens(self) -> int:
        """Tokens in the sources and targets of the training part."""
        return int(self._ends[2 * self.n_train - 1])

    @property
    def floor(self) -> float | None:
        return self._floor

    def verify(self) -> None:
        self.shard.verify()

    def describe(self) -> dict[str, Any]:
        return {
            "tokens_sha256": self.shard.fingerprint,
            "tokenizer": self.shard.header.tokenizer,
            "n_train": self.n_train,
            "n_validation": HELD_OUT,
            "order": "passes",
            "seed": self.seed,
        }


def filled_batch(
    sources: Sequence[list[int]], targets: Sequence[list[int]], pad_id: int, start_id: int
) -> Batch:
    """Sentences with their ends as a batch that asks for each target, token by token."""
    ids = [[start_id, *target[:-1]] for target in targets]
    extra = {"source": filled(sources, pad_id)}
    return Batch(filled(ids, pad_id), filled(targets, IGNORED), extra)


class TranslationScore(NamedTuple):
    """A model's loss on fresh held-out pairs beside their floor, nats per token, and its answers.

    `exact` of the `n` sources were translated, word by word the likeliest word, into their
    likeliest translation; `right` into any that the grammar has.
    """

    loss: float
    floor: float
    exact: int
    right: int
    n: int


@torch.no_grad()
def measure(
    model: EncoderDecoder, tokenizer: Tokenizer, language: str, n: int = FRESH
) -> TranslationScore:
    """Score a model on n pairs whose sources it was not trained on."""
    pairs = [*pairs_held_out(language, FRESH_SEED, n)]
    nats, n_tokens, exact, right = 0.0, 0, 0, 0
    with evaluating(model):
        for first in range(0, n, ROWS):
            chosen = pairs[first : first + ROWS]
            batch = batch_of(tokenizer, chosen, model.config)
            nats += model.loss(batch.ids, batch.targets, **batch.extra).item() * batch.n_asked
            n_tokens += batch.n_asked
            texts = translate(model, tokenizer, [pair.source for pair in chosen])
            for pair, text in zip(chosen, texts, strict=True):
                translations = pair.translations()
                exact += text == next(iter(translations))
                right += text in translations
    return TranslationScore(nats / n_tokens, translation.floor(pairs, tokenizer), exact, right, n)


@torch.no_grad()
def translate(model: EncoderDecoder, tokenizer: Tokenizer, sources: Sequence[str]) -> list[str]:
    """What a model makes of each text, the likeliest word each time."""
    result: list[str] = []
    device = next(model.parameters()).device
    with evaluating(model):
        for first in range(0, len(sources), ROWS):
            rows = [tokenizer.encode_source(text) for text in sources[first : first + ROWS]]
            ids = filled(rows, model.config.pad_id).to(device)
            answers = greedy(model, ids, tokenizer.eos_id)
            result += [tokenizer.decode_known(answer) for answer in answers]
    return result


def batch_of(tokenizer: Tokenizer, pairs: Sequence[Pair], config: TowersConfig) -> Batch:
    """Some pairs as a batch: targets behind the start token, sources, both filled up."""
    sources = [tokenizer.encode_source(pair.source) for pair in pairs]
    targets = [tokenizer.encode_source(pair.target) for pair in pairs]
    return filled_batch(sources, targets, config.pad_id, config.start_id)


@torch.no_grad()
def greedy(
    model: EncoderDecoder, source: Int[Tensor, "batch source_pos"], end_id: int | None
) -> list[list[int]]:
    """Many sources translated at once, each time by the likeliest token, without the end."""
    ids = source.new_full((len(source), 1), model.config.start_id)
    for _ in range(model.config.n_ctx - 1):
        likeliest = model(ids, source=source)[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, likeliest], dim=1)
        if bool((ids == end_id).any(1).all()):
            break
    rows = (row[1:] for row in ids.tolist())
    return [row[: row.index(end_id)] if end_id in row else row for row in rows]


def source_of(model: EncoderDecoder, tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text that two towers read; one that they can't read is refused."""
    source = tokenizer.encode_source(text)
    longest = model.config.encoder.n_ctx
    if not tokenizer.encode(text):
        raise GlassformerError("the text has no words to translate; give it some")
    if len(source) > longest:
        raise GlassformerError(
            f"the text has {len(source):,} tokens with its end and the model reads at most"
            f" {longest:,}; shorten it by {len(source) - longest:,}"
        )
    return source


class Translated(NamedTuple):
    """What a decoder reads and what is asked after each of its tokens [1, pos], and the source."""

    ids: Int[Tensor, "1 pos"]
    targets: Int[Tensor, "1 pos"]
    source: Int[Tensor, "1 source_pos"]


def translated(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    text: str,
    target: int | None = None,
    written: Sequence[int] | None = None,
) -> Translated:
    """A text to translate, and the model's own translation, the likeliest word each time.

    After its last word the end is asked for, or `target`. `written`: a translation so far in place
    of its own; after it `target` alone is asked for. What the model's folder forces and forbids
    holds, as in `generate`.
    """
    source = source_of(model, tokenizer, text)
    ids = torch.tensor([source], device=next(model.parameters()).device)
    last = target
    if written is None:
        how: dict[str, Any] = {"temperature": 0, "stop_ids": end_ids(model, tokenizer)}
        written = [*generate(model, source=ids, max_new_tokens=model.config.n_ctx - 1, **how)]
        last = tokenizer.eos_id if target is None else target
    if len(written) >= model.config.n_ctx:
        raise GlassformerError(
            f"the translation has {len(written):,} tokens so far, and this model writes at most"
            f" {model.config.n_ctx - 1:,}; take some back"
        )
    asked = [*written, IGNORED if last is None else last]
    return Translated(torch.tensor([[model.config.start_id, *written]]), torch.tensor([asked]), ids)


def translated_as(
    model: EncoderDecoder, tokenizer: Tokenizer, text: str, translation: str
) -> Translated:
    """A text to translate, and a translation of it that is asked for, word by word to its end."""
    target = tokenizer.encode_source(translation)
    longest = model.config.n_ctx
    if len(target) > longest:
        raise GlassformerError(
            f"the translation has {len(target):,} tokens with its end and the model writes at most"
            f" {longest:,}; shorten it by {len(target) - longest:,}"
        )
    source, config = source_of(model, tokenizer, text), model.config
    batch = filled_batch([source], [target], config.pad_id, config.start_id)
    return Translated(batch.ids, batch.targets, batch.extra["source"])
