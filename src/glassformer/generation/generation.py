"""Texts that grow token by token, and the model that continues several of them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer import ops
from glassformer.generation.c_step import CompiledPlan
from glassformer.generation.cache import Cache
from glassformer.generation.packed import PackedModel, generating
from glassformer.generation.plan import ExecutionPlan
from glassformer.generation.prompt import check_prompt
from glassformer.generation.rules import rules
from glassformer.generation.sampling import Sampling
from glassformer.generation.sourced import SourcedModel
from glassformer.model.decoder import Decoder
from glassformer.model.encoder_decoder import EncoderDecoder
from glassformer.trace import SILENT

FINISH_REASONS: dict[str, str] = {
    "length": "as many tokens as were asked for",
    "stop": "a stop token or a stop text came",
    "context": "the model's context is full",
}

FEW_THREADS = 2
"""A compiled step runs on one thread and reads memory as fast as that goes, about as fast as two
threads of the flat plan; with more the flat plan is ahead. Small models have one anyway."""


class Generation(Iterator[int]):
    """A text that grows as it is iterated over; each step gives a token id.

    `prompt` and `new` are its token ids so far, `sampling` how its tokens are chosen and `seed`
    what they are drawn with. `finish_reason`, a key of `FINISH_REASONS`, is None until the text is
    finished. A stop token is no part of the text; it stands in `stop_id`.
    """

    def __init__(self, batch: TextBatch, prompt: list[int], seed: int) -> None:
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
class TextBatch:
    """Several texts, continued together by one model."""

    packed: PackedModel | SourcedModel
    prompts: list[list[int]]
    seeds: list[int]
    sampling: Sampling
    max_new_tokens: list[int | None]
    stop_ids: frozenset[int]
    use_cache: bool

    def __post_init__(self) -> None:
        for prompt in self.prompts:
            check_prompt(self.model, prompt)
        self.packed.check_fresh()
        self.texts = [Generation(self, p, s) for p, s in zip(self.prompts, self.seeds, strict=True)]
        self.settings = self.sampling.params()
        self.rules = rules(self.model.folder_settings, self.packed.config.vocab_size)
        self.turns_by_length = self.packed.config.turns_by_length
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
            grown = 0 < self.turns_by_length == max(lengths) - 1  # turned anew
            if self.cache is not None and not grown:
                self.cache.keep([self.cached.index(row) for row in going])
                self.cached = going
                last = self._last(going, lengths).to(device)
                if self.plan is not None:
                    return self.plan.step(last)
                first = torch.zeros(len(going), dtype=torch.long)
                return self.packed.of_texts(going).last_logits(last, first, self.cache)
            if self.use_cache:
                self.cache = self._new_cache(lengths)
                self.plan = self._new_plan(self.cache)
            self.cached = going
            texts = self.ids[going, : max(lengths)].to(device)
            final = torch.tensor(lengths) - 1
            return self.packed.of_texts(going).last_logits(texts, final, self.cache)

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
