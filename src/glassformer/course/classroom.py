"""What lessons compute from: a text, its tokenizers, and small models that are trained or given.

Everything is made when it is first asked for, and the same each time: the text's own model is
trained by `training`, with the sizes that `train` chooses for a short text, and is kept as a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.course.lesson import Lesson, Look, Model
from glassformer.course.riddles import choices
from glassformer.course.variants import Variant, variant
from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.model import Decoder, load_preset
from glassformer.model.size import parameter_count
from glassformer.text.corpus import Corpus
from glassformer.text.shard import Shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.words import sentences_of
from glassformer.trace import Trace
from glassformer.training.checkpoint import steps_saved
from glassformer.training.choices import Choices
from glassformer.training.corpora import open_blocks
from glassformer.training.data import BlocksData
from glassformer.training.examples import examples, shortened, unfinished
from glassformer.training.loop import train
from glassformer.training.masking import MaskedData
from glassformer.training.prepare import Prepared, new_run, resumed_run
from glassformer.training.run import DATA, open_tokenizer, read_description
from glassformer.training.sizing import LITTLE, measured, sized
from glassformer.training.train_state import TrainState, open_train_state

STORY = (
    "The cat sat on the mat. The dog ran in the park. The cat and dog played together."
    " They became friends. The cat liked the mat. The dog liked the park.\n"
)
"""The text of the guide, which a class replaces by its own."""

Showing = Callable[[], AbstractContextManager[Callable[[float], None]]]

FOLDER = Path("runs") / "course"
RIDDLES = "course-riddles"  # the run's folder, beside those of the texts
LONGEST = 2_000_000  # characters; lessons are for people who wait
SIZED_AS = 5_000
"""Longer texts get the sizes of one of so many characters: lessons are about a model that a person
can look through, trained in seconds."""

PIECES = 800  # of byte pairs, for a text that is not read word by word
MERGES = 24  # that the lesson on byte pairs shows at most
BYTES = 257  # of a vocabulary of byte pairs before its first merge, <eos> included
FEWEST = 3  # tokens of a prompt: with fewer there is little to look at
MOST = 2.5  # tokens for a word of a prompt: with more the model reads letters
READ = 20_000  # characters of a long text that lists of its letters and words are made from
BEGINNING = "beginning.txt"  # in the run's folder: what those lists are made from


def folder_of(file: Path | None, home: Path = FOLDER) -> Path:
    """Where the model of a text is kept: a folder of its own for every text; it must be there."""
    if file is None:
        return home
    if not file.is_file():
        raise GlassformerError(f"there is no file {file}; give a text file to --text")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    return home.with_name(f"{home.name}-{digest}")


class Classroom:
    """A text and everything that the lessons are computed from.

    file: the class's own text; None: `STORY`. folder: where its run is kept; it may be there.
    report: told of every training, in a sentence. showing: opened while one lasts, and told
    which share of it is done.
    """

    def __init__(
        self,
        file: Path | None,
        folder: Path,
        report: Callable[[str], None] = lambda text: None,
        showing: Showing = lambda: nullcontext(lambda share: None),
    ) -> None:
        self.folder, self.report, self.showing = folder, report, showing
        self.is_story = file is None
        if file is None:
            self.file = folder.with_suffix(".txt")
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not self.file.is_file() or self.file.read_bytes() != STORY.encode():
                write_atomically(self.file, STORY)
        else:
            self.file = file
        self.corpus = Corpus(str(self.file))
        self._states: dict[Model, TrainState] = {}
        self._traces: dict[tuple[Model, str], Trace] = {}
        self._variants: dict[str, Variant] = {}
        self.lessons: dict[str, Lesson] = {}
        """Those made so far, by name."""

    @cached_property
    def text(self) -> str:
        """The whole text, without what is blank around it.

        Errors: one without two sentences, or too long for a lesson.
        """
        parts = self.corpus.pieces()
        text = "".join(part.text + "\n" * part.ends_document for part in parts).strip()
        if len(text) > LONGEST:
            raise GlassformerError(
                f"{self.file} has {len(text):,} characters; the course is for a text of at most"
                f" {LONGEST:,}: give a part of it, or train a model on it with `glassformer train`"
            )
        if len(sentences_of(text)) < 2:
            raise GlassformerError(
                f"{self.file} is one sentence; the course needs a few, six for example: write some"
                " more, each ending in a full stop"
            )
        return text

    def check(self) -> None:
        """Refuse a text that no lessons can be made from."""
        _ = self.text

    @property
    def name(self) -> str:
        """How lessons call the text."""
        return "the story" if self.is_story else "your text"

    @cached_property
    def beginning(self) -> str:
        """The text that lists are made from: all of a short one, the first pages of a long one."""
        return self.text[:READ].strip()

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of the beginning, in order."""
        return sentences_of(self.beginning)

    # ---- ways to cut the text ----

    @cached_property
    def by_characters(self) -> Tokenizer:
        return Tokenizer.train("chars", self.beginning)

    @cached_property
    def by_words(self) -> Tokenizer:
        return Tokenizer.train("words", self.beginning)

    @cached_property
    def by_pairs(self) -> Tokenizer:
        """Byte pairs, with the merges as they were learned, `MERGES` of them at most."""
        return Tokenizer.train("bpe", self.beginning, vocab_size=BYTES + MERGES, trace=True)

    # ---- the text's own model ----

    @cached_property
    def run(self) -> Path:
        """The folder of the text's run, trained to its end."""
        if (self.folder / "run.json").is_file():
            self._check_text()
        run = self._trained(self.folder, self._new_run, self.name)
        beginning = run / BEGINNING
        if not beginning.is_file() or beginning.read_bytes() != self.beginning.encode():
            write_atomically(beginning, self.beginning)
        return run

    def _trained(self, folder: Path, begin: Callable[[], Prepared], what: str) -> Path:
        """The folder of a run, trained to its end: begun, or gone on with, where it is not."""
        if is_trained(folder):
            return folder
        prepared = resumed_run(folder, "cpu") if (folder / "run.json").is_file() else begin()
        recipe = prepared.recipe
        with prepared.run, self.showing() as show:
            self.report(
                f"A model of {parameter_count(prepared.model.config):,} numbers learns {what}, in"
                f" {recipe.steps} steps; this is done once, and kept in {folder}."
            )
            train(
                prepared.model,
                prepared.data,
                recipe,
                run=prepared.run,
                report=lambda row: show(row["step"] / recipe.steps),
            )
        return folder

    def _check_text(self) -> None:
        """Refuse a folder whose model learned another text."""
        tokenizer = open_tokenizer(self.folder, read_description(self.folder))
        shard = Shard(self.folder / DATA, tokenizer=tokenizer)
        learned = [i for i in shard.ids(slice(0, len(shard))).tolist() if i != tokenizer.eos_id]
        if learned != [i for piece in self.corpus.texts() for i in tokenizer.encode(piece)]:
            raise GlassformerError(
                f"{self.folder} holds a model that learned another text than {self.file}; give"
                " --out another folder, or leave it out"
            )

    def _new_run(self) -> Prepared:
        size = measured([self.text])
        chosen = sized(
            size._replace(n_characters=min(size.n_characters, SIZED_AS)), load_preset("text")
        )
        tokenizer = chosen["tokenizer"]
        choices = Choices(
            texts=(str(self.file),),
            tokenizer=tokenizer["kind"],
            vocab_size=PIECES if tokenizer["kind"] == "bpe" else None,
            model={name: chosen["model"][name] for name in LITTLE["model"]},
            recipe=chosen["training"],
            device="cpu",
        )
        return new_run(self.folder, choices)

    def state(self, model: Model = "course") -> TrainState:
        """One of the models, with its tokenizer and its optimizer's state."""
        if model not in self._states:
            name = str(self.run) if model == "course" else model
            self._states[model] = open_train_state(name)
        return self._states[model]

    @property
    def model(self) -> Decoder:
        model: Decoder = self.state().model
        return model

    @property
    def parameters(self) -> int:
        """How many numbers training found."""
        return parameter_count(self.model.config)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.state().tokenizer

    @cached_property
    def completions(self) -> list[tuple[str, str]]:
        """Sentences of the text without their last words, and those words; the first and last."""
        return unfinished(self.tokenizer, self.model.config.n_ctx, self.run / DATA)

    @cached_property
    def prompt(self) -> str:
        """The beginning of a sentence of the text, without its end: `FEWEST` tokens at least.

        One whose words are no more than `MOST` tokens each goes before others.
        """
        tokenizer, n_ctx = self.tokenizer, self.model.config.n_ctx
        from_text = examples(tokenizer, n_ctx, self.run / DATA, own_first=True)
        starts = (shortened(tokenizer, n_ctx, sentence) for sentence in self.sentences)
        prompts = [*(prompt for prompt, _ in (*self.completions, *from_text)), *starts]
        tokens = {text: len(tokenizer.encode_prompt(text)) for text in prompts}
        long = [text for text in prompts if tokens[text] >= FEWEST]
        in_words = (text for text in long if tokens[text] <= MOST * len(text.split()))
        return next(in_words, long[0] if long else max(prompts, key=tokens.__getitem__))

    def variant(self, **changes: Any) -> Variant:
        """The text's model trained with some fields of its configuration changed."""
        name = ", ".join(f"{field} {str(value).strip('(),')}" for field, value in changes.items())
        if name not in self._variants:
            unchanged = all(getattr(self.model.config, f) == value for f, value in changes.items())
            if not unchanged:
                self.report(f"The same model with {name} learns {self.name} …")
            self._variants[name] = variant(self.run, self.model, self.tokenizer, changes)
        return self._variants[name]

    # ---- a model that learns from its prompt ----

    @cached_property
    def riddler(self) -> TrainState:
        """A model that has learned to answer riddles from its prompt; one for all texts."""
        folder = self.folder.with_name(RIDDLES)
        file = folder.with_suffix(".jsonl")
        self._trained(folder, lambda: new_run(folder, choices(file)), "to solve riddles")
        return open_train_state(str(folder))

    @cached_property
    def data(self) -> BlocksData | MaskedData:
        """The blocks that its model learned from."""
        described = read_description(self.run)
        return open_blocks(self.run / DATA, described.corpus, self.tokenizer, described.recipe)

    # ---- what it says, and how ----

    def watch(self, prompt: str, model: Model = "course") -> Trace:
        """Every number from a prompt to the probabilities of the next token."""
        key = (model, prompt)
        if key not in self._traces:
            state = self.state(model)
            self._traces[key] = state.model.watch(state.tokenizer.encode_prompt(prompt))
        return self._traces[key]

    def next_tokens(self, prompt: str, model: Model = "course") -> list[tuple[str, float]]:
        """Every token and its probability of coming next, the most probable first."""
        tokenizer = self.state(model).tokenizer
        probs = self.next_probs(prompt, model)
        order = probs.argsort(descending=True, stable=True).tolist()
        return [(tokenizer.token(i), probs[i].item()) for i in order if i < tokenizer.vocab_size]

    def next_probs(self, prompt: str, model: Model = "course") -> Tensor:
        """The probability [vocab] of every token of coming next, float64."""
        logits = self.watch(prompt, model)["fwd/logits"].double()
        return logits.reshape(-1, logits.shape[-1])[-1].softmax(-1)

    def probs_after(self, ids: Sequence[int]) -> Tensor:
        """The probability [vocab] of every token after some ids, float64."""
        with torch.no_grad():
            logits: Tensor = self.model(torch.tensor([[*ids]]))
        return logits[0, -1].double().softmax(-1)

    def best_token(self, prompt: str) -> int:
        """The id of the most probable next token."""
        return int(self.next_probs(prompt).argmax())

    def look(
        self,
        label: str,
        address: str,
        *,
        prompt: str | None = None,
        model: Model = "course",
        target: str | None = None,
    ) -> Look:
        """A way down to one number; an address that is not there, or of several, is refused."""
        prompt = self.prompt if prompt is None else prompt
        if target is None and self.watch(prompt, model)[address].numel() != 1:
            raise GlassformerError(f"{address} is not one number; give every index")
        return Look(label=label, model=model, prompt=prompt, address=address, target=target)


def is_trained(folder: Path) -> bool:
    """Whether there is a run whose last step was made."""
    if not (folder / "run.json").is_file():
        return False
    return read_description(folder).recipe.steps in steps_saved(folder / "checkpoints")
