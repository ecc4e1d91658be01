"""Texts that come and go, continued together: each gets the tokens that it would get alone.

Every turn reads one token of each text that goes on, and parts of the prompts of those that have
just come, as many rows as the compiled step takes. A row's logits do not depend on the others, and
a token is chosen from them, the text's seed and the token's index alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.generation.c_step import MOST_ROWS, CompiledRows, NotCompiledError
from glassformer.generation.c_step.choice import UNDECIDED
from glassformer.generation.packed import unpacked
from glassformer.generation.plain_rows import PlainRows
from glassformer.generation.room import room_of
from glassformer.generation.rules import NO_RULES, Rules
from glassformer.generation.sampling import Sampling
from glassformer.generation.sourced_rows import SourcedRows
from glassformer.kernels.choose import choose_rows, penalize, uniform
from glassformer.kernels.finite import refuse_no_numbers
from glassformer.model.decoder import Decoder
from glassformer.model.encoder_decoder import EncoderDecoder


class Chosen(NamedTuple):
    """A token, what the model made of it, and the likeliest ones in its place; logs of base e.

    The first token of a prompt has no log-probability.
    """

    token: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


bare = lru_cache(1 << 14)(Chosen)
"""A token of which nobody asked for more; the same ones come again and again."""


@runtime_checkable  # so that the tests can check annotations
class Sink(Protocol):
    """Whoever waits for a text; called by the thread that computes."""

    def scored(self, prompt: list[Chosen]) -> None:
        """Take the prompt's own tokens with their log-probabilities, if they were asked for."""
        ...

    def push(self, *chosen: Chosen) -> bool:
        """Take tokens; return whether the text is to end with them."""
        ...

    def finish(self, reason: str | None, error: Exception | None = None) -> None:
        """The text has ended: by the reason, or by an error."""
        ...


@dataclass(eq=False)
class Text:
    """A text to be continued, and how far it is.

    logprobs: how many of the likeliest tokens to tell beside each, None for no log-probabilities;
    score: of the prompt's tokens too; bias: what is added to the scores of some tokens; rules:
    which the folder forces or forbids; source: what an encoder reads, whose target the text is;
    at_once: its tokens are wanted when it has ended, and not one by one; times: when each was
    chosen, in seconds of the monotonic clock.
    """

    prompt: list[int]
    sink: Sink
    max_new: int
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    score: bool = False
    bias: Mapping[int, float] = field(default_factory=dict)
    rules: Rules = NO_RULES
    source: list[int] | None = None
    at_once: bool = False
    cancelled: bool = False
    new: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    slot: int = -1
    n_cached: int = 0  # tokens that stand in the cache
    scores: list[Chosen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = [*self.prompt]
        """Prompt and new tokens."""

    @cached_property
    def how(self) -> dict[str, Any]:
        """How tokens are chosen, as `choose_rows` takes it."""
        how = self.sampling.params()
        del how["repetition_penalty"]
        return how

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """What texts have in common whose tokens are chosen together."""
        return tuple(self.how.values())

    @cached_property
    def is_steered(self) -> bool:
        """Whether its scores are changed before a token is chosen."""
        return any(self.rules) or bool(self.bias) or self.sampling.repetition_penalty != 1

    @cached_property
    def is_plain(self) -> bool:
        """Whether new tokens are all that is asked for, drawn from all that there are."""
        is_told = self.logprobs is not None or self.score
        is_cut = self.kind[1:] != (None, None, None)
        is_drawn = not self.sampling.greedy and self.max_new > 0
        return is_drawn and not (self.is_steered or is_told or is_cut)


class Batch:
    """Some texts of one model and the slots of its cache.

    What a slot still holds of an earlier text is not read again by one that begins alike.
    """

    def __init__(self, model: Decoder | EncoderDecoder, most_slots: int = MOST_ROWS) -> None:
        slots, capacity = room_of(model)
        self.model, self.capacity = model, capacity
        self._reader = _reader(model, min(slots, most_slots), capacity)
        self._free = [*range(self._reader.slots)]
        self._held: list[list[int]] = [[] for _ in self._free]  # what stands in each slot
        self.texts: list[Text] = []

    @property
    def slots(self) -> int:
        """How many texts are held at once."""
        return self._reader.slots

    @property
    def has_room(self) -> bool:
        return bool(self._free)

    def add(self, text: Text) -> None:
        """Begin a text; there must be a free slot."""
        best = self._best_slot(text.prompt)
        self._free.remove(best)
        text.slot = best
        if self._reader.in_pieces and not text.score:
            text.n_cached = min(_alike(self._held[best], text.prompt), len(text.prompt) - 1)
        if isinstance(self._reader, SourcedRows) and text.source is not None:
            self._reader.begin(best, text.source)
        self.texts.append(text)

    def _best_slot(self, prompt: Sequence[int]) -> int:
        """A free slot that holds as much of a prompt as any; of such the last one that was used.

        What was used last is still in the processor's cache.
        """
        best, most = self._free[-1], -1
        for slot in reversed(self._free):
            alike = _alike(self._held[slot], prompt)
            if alike > most:
                best, most = slot, alike
            if most >= len(prompt) - 1:  # the last token is read in any case
                break
        return best

    @torch.inference_mode()
    def turn(self) -> None:
        """Read some tokens, choose one for every text that has read all of its own."""
        for text in [text for text in self.texts if text.cancelled]:
            self._end(text)
        texts, positions, silent = self._rows()
        if not texts:
            return
        slots = [text.slot for text in texts]
        tokens = [text.ids[at] for text, at in zip(texts, positions, strict=True)]
        logits = self._reader.read(slots, tokens, positions, silent)
        for text, at in zip(texts, positions, strict=True):
            text.n_cached = at + 1
        if silent:
            texts, positions = texts[silent:], positions[silent:]
        left = self._take_plain(texts, logits)
        if left:
            self._take([(texts[row], positions[row]) for row in left], logits[left].double())

    def _rows(self) -> tuple[list[Text], list[int], int]:
        """What is read in this turn, as texts and indices, and of how many no logits are asked.

        These come first.
        """
        loud = [text for text in self.texts if text.new]
        positions = [text.n_cached for text in loud]
        if len(loud) == len(self.texts):
            return loud, positions, 0
        silent: list[tuple[Text, int]] = []
        rows = [*zip(loud, positions, strict=True)]
        for text in [text for text in self.texts if not text.new]:
            budget = MOST_ROWS - len(silent) - len(rows) if self._reader.in_pieces else None
            last = len(text.prompt) - 1
            for at in range(text.n_cached, len(text.prompt))[:budget]:
                (rows if text.score or at == last else silent).append((text, at))
        rows = silent + rows
        return [text for text, _ in rows], [at for _, at in rows], len(silent)

    def _take_plain(self, texts: Sequence[Text], logits: Tensor) -> Sequence[int]:
        """Choose tokens of texts of which no more is asked; return the rows that are left."""
        choice = self._reader.choice
        plain = [] if choice is None else [n for n, text in enumerate(texts) if text.is_plain]
        if choice is None or not plain:
            return range(len(texts))
        some = [texts[row] for row in plain]
        drawn = [uniform(text.seed, len(text.new)) for text in some]
        temperatures = [text.sampling.temperature for text in some]
        tokens, now = choice.tokens(logits, plain, temperatures, drawn), time.monotonic()
        left = [] if len(plain) == len(texts) else [*{*range(len(texts))} - {*plain}]
        for row, text, token in zip(plain, some, tokens, strict=True):
            if token == UNDECIDED:
                left.append(row)
            else:
                self._append(text, bare(token), now)
        return sorted(left)

    def _take(self, rows: Sequence[tuple[Text, int]], scores: Tensor) -> None:
        """Hand on what scores [row, vocab] say of the prompts, and choose."""
        scored = [row for row, (text, _) in enumerate(rows) if text.logprobs is not None]
        logs = dict(zip(scored, scores[scored].log_softmax(-1), strict=True)) if scored else {}
        ready: list[int] = []
        for row, (text, at) in enumerate(rows):
            if text.score:
                if at == 0:
                    text.scores.append(Chosen(text.prompt[0]))
                if at + 1 < len(text.prompt):
                    text.scores.append(_chosen(text, text.prompt[at + 1], logs[row]))
            if at + 1 == len(text.ids):
                ready.append(row)
        sound = np.isfinite(scores.numpy().max(-1)).tolist()
        wanted = [row for row in ready if self._goes_on(rows[row][0], scores, row, sound[row])]
        if len(wanted) < len(rows):
            scores = scores[wanted]
        tokens, now = self._choose([rows[row][0] for row in wanted], scores), time.monotonic()
        for row, token in zip(wanted, tokens, strict=True):
            text = rows[row][0]
            self._append(text, _chosen(text, token, logs.get(row)), now)

    def _goes_on(self, text: Text, scores: Tensor, row: int, is_sound: bool) -> bool:
        """Whether a token is to be chosen; before the first one the prompt's scores are told."""
        if text.score and not text.new:
            text.sink.scored(text.scores)
        if text.max_new == 0:
            self._end(text, "length")
            return False
        if not is_sound:
            try:
                refuse_no_numbers(scores[row])
            except GlassformerError as error:
                self._end(text, None, error)
        return is_sound

    def _choose(self, texts: Sequence[Text], scores: Tensor) -> list[int]:
        alike: dict[tuple[Any, ...], list[int]] = {}
        for row, text in enumerate(texts):
            if text.is_steered:
                scores[row] = _steered(text, scores[row])
            alike.setdefault(text.kind, []).append(row)
        tokens = [0] * len(texts)
        for some in alike.values():
            drawn = [uniform(texts[row].seed, len(texts[row].new)) for row in some]
            of_some = scores if len(some) == len(texts) else scores[some]
            chosen = choose_rows(of_some, drawn, **texts[some[0]].how)
            for row, token in zip(some, chosen.tolist(), strict=True):
                tokens[row] = token
        return tokens

    def _append(self, text: Text, chosen: Chosen, now: float) -> None:
        text.times.append(now)
        text.new.append(chosen.token)
        text.ids.append(chosen.token)
        over = text.sink.push(chosen)
        if over or chosen.token in text.stop_ids:
            self._end(text, "stop")
        elif len(text.new) == text.max_new or len(text.ids) > self.capacity:
            self._end(text, "length")

    def _end(self, text: Text, reason: str | None = None, error: Exception | None = None) -> None:
        self.texts.remove(text)
        self._held[text.slot] = text.ids[: text.n_cached]
        self._free.append(text.slot)
        text.sink.finish(reason, error)

    def end_all(self, error: Exception) -> None:
        """End every text with this error."""
        for text in self.texts[:]:
            self._end(text, None, error)


def _reader(
    model: Decoder | EncoderDecoder, slots: int, capacity: int
) -> CompiledRows | PlainRows | SourcedRows:
    if isinstance(model, EncoderDecoder):
        return SourcedRows(model, slots, capacity)
    if not model.config.turns_by_length:
        try:
            return CompiledRows(model, slots, capacity)
        except (NotCompiledError, GlassformerError):  # no compiler, or not in float32 on the CPU
            pass
    return PlainRows(unpacked(model), slots, capacity)


def _alike(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginning."""
    pairs = zip(held, prompt, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(held), len(prompt)))


def _steered(text: Text, scores: Tensor) -> Tensor:
    """A text's scores [vocab] after its rules, its bias and its penalty."""
    if any(text.rules):
        is_last = len(text.new) + 1 == text.max_new
        scores = text.rules.applied(scores, len(text.new), is_last)
    if text.bias:
        scores[[*text.bias]] += torch.tensor([*text.bias.values()]).double()
    if text.sampling.repetition_penalty != 1:
        scores = penalize(scores, torch.tensor([text.ids]), 0, text.sampling.repetition_penalty)
    return scores


def _chosen(text: Text, token: int, logs: Tensor | None) -> Chosen:
    """A token with its log-probability, and as many of the likeliest as the text asks for."""
    if logs is None or text.logprobs is None:
        return bare(token)
    if not text.logprobs:
        return Chosen(token, float(logs[token]))
    likeliest = logs.topk(min(text.logprobs, len(logs)))
    pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    return Chosen(token, float(logs[token]), tuple(pairs))
