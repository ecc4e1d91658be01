"""Tokens one after another: ask the model, choose, append, ask again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from glassformer import ops
from glassformer.errors import GlassformerError
from glassformer.generation.c_step import CompiledPlan
from glassformer.generation.cache import Cache
from glassformer.generation.defaults import read_defaults
from glassformer.generation.packed import PackedModel, generating, refuse_encoder, unpacked
from glassformer.generation.plan import ExecutionPlan
from glassformer.generation.rules import rules
from glassformer.generation.sampling import Sampling, fresh_seed
from glassformer.generation.sourced import SourcedModel
from glassformer.model.decoder import Decoder
from glassformer.model.encoder_decoder import EncoderDecoder
from glassformer.model.ids import Ids, one_text, refuse_outside
from glassformer.model.kinds import AnyModel
from glassformer.model.texts import Texts
from glassformer.trace import SILENT

FINISH_REASONS: dict[str, str] = {
    "length": "as many tokens as were asked for",
    "stop": "a stop token or a stop text came",
    "context": "the model's context is full",
}

FEW_THREADS = 2
"""A compiled step runs on one thread and reads memory as fast as that goes, about as fast as two
threads of the flat plan; with more the flat plan is ahead. Small models have one anyway."""


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
) -> list[_Texts]:
    """The texts before their first new token, in the batches that are continued together."""
    first = fresh_seed() if seed is None else seed
    seeds = [first + i for i in range(len(prompts))]
    defaults = read_defaults(packed.model.folder_settings)
    sampling = defaults.sampling(**arguments._asdict())
    most = [
        defaults.most_new(len(p)) if max_new_tokens is None else max_new_tokens for p in prompts
    ]
    alone = packed.compiled is not None and packed.small and use_cache
    by_length = packed.config.turns_by_length > 0  # of one text, not of the longest
    size = 1 if alone or by_length else max(len(prompts), 1)
    end = (frozenset(stop_ids), use_cache)
    return [
        _Texts(packed, prompts[part], seeds[part], sampling, most[part], *end)
        for part in (slice(i, i + size) for i in range(0, len(prompts), size))
    ]


class Generation(Iterator[int]):
    """A text that grows as it is iterated over; each step gives a token id.

    `prompt` and `new` are its token ids so far, `sampling` how its tokens are chosen and `seed`
    what they are drawn with. `finish_reason`, a key of `FINISH_REASONS`, is None until the text is
    finished. A stop token is no part of the text; it stands in `stop_id`.
    """

    def __init__(self, batch: _Texts, prompt: list[int], seed: int) -> None:
        self.prompt = prompt
        self.new: list[int] = []
        self.seed = seed
        self.sampling = batch.sampling
        self.stop_id: int | None = None
        self.finish_reason: str | None = None
        self._batch = batch
        self._n_read = 0

    def __repr__(self) -> str:
        ended = self.finish_reason or "going on"
        return f"<Generation of {len(self.prompt)} + {len(self.new)} tokens, {ended}>"

    @property
    def ids(self) -> list[int]:
        """The whole text: prompt and new tokens."""
        return self.prompt + self.new

    @property
    def chosen(self) -> list[int]:
        """What was chosen, token by token: `new`, and the stop token if there was one."""
        return self.new if self.stop_id is None else [*self.new, self.stop_id]

    def __next__(self) -> int:
        if self._n_read == len(self.new) and self.finish_reason is None:
            self._batch.advance()
        if self._n_read == len(self.new):
            raise StopIteration
        self._n_read += 1
        return self.new[self._n_read - 1]

    def finish(self, reason: str) -> None:
        """End the text here."""
        self.finish_reason = reason


@dataclass
class _Texts:
    """Several texts, continued together by one model."""

    packed: PackedModel | SourcedModel
    prompts: list[list[int]]
    seeds: list[int]
    sampling: Sampling
    max_new_tokens: list[int | None]
    stop_ids: frozenset[int]
    use_cache: bool

    def __post_init__(self) -> None:
        least = min((most for most in self.max_new_tokens if most is not None), default=0)
        if least < 0:
            raise GlassformerError(f"max_new_tokens={least} is negative; give 0 or more")
        for prompt in self.prompts:
            check_prompt(self.model, prompt)
        self.packed.check_fresh()
        self.texts = [Generation(self, p, s) for p, s in zip(self.prompts, self.seeds, strict=True)]
        self.settings = self.sampling.params()
        self.rules = rules(self.model.folder_settings, self.packed.config.vocab_size)
        # every text's tokens, in a row of its own
        self.ids = torch.zeros(len(self.prompts), self._longest() + 1, dtype=torch.long)
        for row, prompt in zip(self.ids, self.prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        self.cache: Cache | None = None
        self.plan: ExecutionPlan | CompiledPlan | None = None
        self.cached: list[int] = []  # whose text each row of the cache is
        for text, most in zip(self.texts, self.max_new_tokens, strict=True):
            if most == 0:
                text.finish("length")

    @property
    def model(self) -> Decoder | EncoderDecoder:
        model: Decoder | EncoderDecoder = self.packed.model
        return model

    def _longest(self) -> int:
        """Tokens that the model reads at most, of any text."""
        n_ctx = self.model.config.n_ctx
        ends = (
            n_ctx if most is None else len(prompt) + max(most, 1) - 1
            for prompt, most in zip(self.prompts, self.max_new_tokens, strict=True)
        )
        return min(n_ctx, max(ends, default=n_ctx))

    @property
    def unfinished(self) -> list[int]:
        """The numbers of the texts that go on."""
        return [n for n, text in enumerate(self.texts) if text.finish_reason is None]

    @torch.inference_mode()
    def advance(self) -> None:
        """One more token for every unfinished text."""
        self.packed.check_still_fresh()
        going = self.unfinished
        for row, scores in zip(going, self._logits(going), strict=True):
            text = self.texts[row]
            length = len(text.prompt) + len(text.new)
            is_last = len(text.new) + 1 == self.max_new_tokens[row]
            scores = self.rules.applied(scores, len(text.new), is_last)
            token = SILENT(
                "token",
                ops.choose,
                scores[None],
                self.ids[row : row + 1, :length],
                row=0,
                last=0,
                seed=text.seed,
                index=len(text.new),
                **self.settings,
            )
            self._append(row, int(token))

    def _append(self, row: int, token: int) -> None:
        text = self.texts[row]
        if token in self.stop_ids:
            text.stop_id = token
            return text.finish("stop")
        text.new.append(token)
        length = len(text.prompt) + len(text.new)
        if len(text.new) == self.max_new_tokens[row]:
            text.finish("length")
        elif length > self.model.config.n_ctx:
            text.finish("context")
        self.ids[row, length - 1] = token
        return None

    def _logits(self, going: list[int]) -> Tensor:
        """Scores for the next token of every text that goes on, [batch, 1, vocab]."""
        lengths = [len(self.texts[row].prompt) + len(self.texts[row].new) for row in going]
        device = self.model.embed.W_E.device
        with generating(self.packed):
            packed = self.packed.of_texts(going)
            grown = 0 < self.packed.config.turns_by_length == max(lengths) - 1  # turned anew
            if self.cache is not None and not grown:
                self.cache.keep([self.cached.index(row) for row in going])
                self.cached = going
                last = self._last(going, lengths).to(device)
                if self.plan is not None:
                    return self.plan.step(last)
                return packed.last_logits(last, torch.zeros(len(going)).long(), self.cache)
            if self.use_cache:
                self.cache = self._new_cache(lengths)
                self.plan = self._new_plan(self.cache)
            self.cached = going
            texts = self.ids[going, : max(lengths)].to(device)
            return packed.last_logits(texts, torch.tensor(lengths) - 1, self.cache)

    def _last(self, going: list[int], lengths: list[int]) -> Tensor:
        """The last token of each text, [batch, 1]."""
        if len(going) == 1:
            return self.ids[going[0] : going[0] + 1, lengths[0] - 1 : lengths[0]]
        return self.ids[going, [n - 1 for n in lengths]][:, None]

    def _new_cache(self, lengths: list[int]) -> Cache:
        W_E = self.model.embed.W_E
        return Cache(
            self.packed.config,
            lengths,
            capacity=self._longest(),
            dtype=W_E.dtype,
            device=W_E.device,
        )

    def _new_plan(self, cache: Cache) -> ExecutionPlan | CompiledPlan | None:
        if isinstance(self.packed, SourcedModel) or not self.packed.is_flat:
            return None
        step = self.packed.compiled
        if step is not None and cache.batch == 1 and torch.get_num_threads() <= FEW_THREADS:
            return step.on(cache)
        return ExecutionPlan(self.packed, cache)


class PromptTooLongError(GlassformerError):
    """A prompt of more tokens than the model reads."""


def check_prompt(model: AnyModel, ids: Sequence[int]) -> None:
    """Raise if a text can't be continued: empty, too long, or with ids the model does not know."""
    config = model.config
    if not ids:
        raise GlassformerError(
            "the prompt has no tokens, and the model can only go on from one; give it some text"
        )
    if len(ids) > config.n_ctx:
        raise PromptTooLongError(
            f"the prompt has {len(ids):,} tokens and the model reads at most"
            f" n_ctx={config.n_ctx:,}; shorten it by {len(ids) - config.n_ctx:,}"
        )
    refuse_outside(torch.tensor(ids), config.vocab_size)
