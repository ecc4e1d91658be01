"""One model, asked again and again: an answer streams out, and can be looked into afterwards."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TextIO

import torch

from glassformer.cli.streams import note
from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.generation.defaults import end_ids, start_ids
from glassformer.generation.generate import generate
from glassformer.generation.generation import FINISH_REASONS, Generation
from glassformer.generation.packed import PackedModel, pack
from glassformer.generation.sampling import Sampling
from glassformer.generation.stream import stream_text
from glassformer.model import Decoder, EncoderDecoder
from glassformer.safe_text import harmless
from glassformer.show.choice import print_choice, token_text
from glassformer.show.labels import visible
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.short import print_short
from glassformer.show.terminal import print_trace
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace
from glassformer.training.translation import source_of
from glassformer.watch.choice import record_choice

ANSWER_LINES = 80  # of the short trace: two layers and a sentence of eight words are shown whole


@dataclass
class Answers:
    """A model, its tokenizer and how it is asked; `last` is the answer that came last.

    `weights`, where given, is the width in which they are packed for answering.
    """

    model: Decoder | EncoderDecoder
    tokenizer: Tokenizer
    sampling: Sampling
    max_tokens: int | None  # None: as many as the model's folder says
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    weights: str | None = None
    last: Generation | None = None

    alone: ClassVar[bool] = False
    """Whether an answer is spelled by itself, not as what follows the prompt."""

    def __post_init__(self) -> None:
        self._asked = self.model if self.weights is None else self._packed(self.weights)
        self._more: dict[str, Any] = {}  # what the last answer's passes read beside its tokens

    def _packed(self, weights: str) -> PackedModel:
        if isinstance(self.model, EncoderDecoder):
            raise GlassformerError(
                "--weights packs a decoder alone, and this model has two towers; leave it out"
            )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            packed = pack(self.model, weights)
        for warning in caught:
            note(str(warning.message))
        return packed

    def complete(self, prompt: str) -> Generation:
        """Print a prompt and stream what the model makes follow it."""
        generation, pieces = self.begin(prompt)
        if not isinstance(self.model, EncoderDecoder):
            write(prompt)
        silent = True
        try:
            for piece in pieces:
                write(piece)
                silent = False
        finally:
            write("\n")
        if silent and generation.chosen:
            note(self._why_silent(generation))
        return generation

    def _why_silent(self, answer: Generation) -> str:
        """Why nothing stands behind the prompt."""
        n = len(answer.new)
        if not n:
            name = visible(self.tokenizer.shown(answer.chosen[0]))
            return f"the answer is empty: the model's first token is {name}, which ends a text"
        if answer.finish_reason == "stop" and answer.stop_id is None:
            return "the answer is empty: it begins with a stop text"
        ids, known = self.model.config.vocab_size, self.tokenizer.vocab_size
        padded = f"the model has {ids:,} ids and its tokenizer only {known:,} tokens, and "
        return (
            f"the answer's {counted(n, 'token')} {'has' if n == 1 else 'have'} no text:"
            f" {padded if ids > known else ''}special tokens have none"
        )

    def begin(self, prompt: str) -> tuple[Generation, Iterator[str]]:
        """What the model makes follow a prompt: its tokens, and its text piece by piece."""
        unknown = self.tokenizer.unknown_words(prompt)
        if unknown:
            note(f"not in the vocabulary, read as <unk>: {', '.join(map(repr, unknown))}")
        generation = generate(
            self._asked,
            self.begin_with(prompt),
            **self._more,
            max_new_tokens=self.max_tokens,
            **asdict(self.sampling),
            seed=self.seed,
            stop_ids=end_ids(self.model, self.tokenizer),
        )
        self.last = generation
        return generation, stream_text(generation, self.tokenizer, self.stop, self.alone)

    def begin_with(self, prompt: str) -> list[int]:
        """The tokens that the answer goes on from; two towers read the prompt as their source."""
        if isinstance(self.model, EncoderDecoder):
            self._more = {"source": [source_of(self.model, self.tokenizer, prompt)]}
            return [self.model.config.start_id]
        return start_ids(self.tokenizer, prompt)

    def print_end(self, sheet: Sheet) -> None:
        """How the last answer was made, and why it ended."""
        last = self._answered()
        end = FINISH_REASONS.get(last.finish_reason or "", "interrupted")
        how = last.sampling.summary() + ("" if last.sampling.greedy else f", seed {last.seed}")
        tokens = f"{len(last.new)} token{'' if len(last.new) == 1 else 's'}"
        sheet.prose(f"{tokens} ({how}). The end: {end}.", QUIET)

    def print_choice(self, sheet: Sheet, index: int = 0) -> None:
        """The table behind new token number `index` of the last answer, and why it was this one."""
        last = self._answered()
        chosen = last.chosen
        if not 0 <= index < len(chosen):
            raise GlassformerError(
                f"the last answer has tokens 1 to {len(chosen)}, and none is number {index + 1}"
            )
        before = [*last.prompt, *last.new[:index]]
        trace = self._watch(before, "logits,probs")
        trace.keep = ["*"]  # of the choice, every step
        token = record_choice(trace, last.sampling, seed=last.seed, index=index)
        sheet.prose(f"Token {index + 1}, after {self._end_of(before)}:", QUIET)
        print_choice(trace, sheet)
        if token != chosen[index]:
            sheet.prose(
                f"(The answer has {token_text(trace, chosen[index])} here: the two lie within the"
                " rounding of this dtype, and a cache rounds differently.)"
            )

    def _end_of(self, ids: list[int]) -> str:
        """The last words of a text, or its last token where that spells nothing: `<s>`."""
        text = self.tokenizer.decode_known(ids[-8:])
        if not text:
            return visible(self.tokenizer.shown(ids[-1]))
        return f"'{'…' if len(ids) > 8 else ''}{visible(text)}'"

    @property
    def source(self) -> list[int]:
        """What the encoder of two towers read of the last prompt; nothing of other models."""
        return [int(i) for row in self._more.get("source", ()) for i in row]

    def print_trace(self) -> None:
        """Every stage of the last answer, in numbers."""
        last = self._answered()
        print_trace(self._watch(last.ids[: self.model.config.n_ctx], "*"))

    def print_short(self) -> None:
        """The prompt of the last answer on one screen: what made its first token."""
        print_short(self._watch(self._answered().prompt, "*"), lines=ANSWER_LINES)

    def _watch(self, ids: list[int], keep: str) -> Trace:
        device = self.model.embed.W_E.device
        ids_on_device = torch.tensor([ids], device=device)
        return self.model.watch(ids_on_device, keep=keep, **self._more)

    def _answered(self) -> Generation:
        if self.last is None:
            raise GlassformerError("there is no answer yet; write a prompt first")
        return self.last


def write(text: str) -> None:
    """Write at once; a terminal gets nothing that could steer it, a pipe the text as it is."""
    file: TextIO = sys.stdout
    if file.isatty():
        text = harmless(text)
    encoding = file.encoding or "utf-8"
    file.write(text.encode(encoding, "backslashreplace").decode(encoding))
    file.flush()
