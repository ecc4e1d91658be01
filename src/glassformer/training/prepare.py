"""From choices to a model, its data and a run folder: a new run, a fine-tuning, a resumed run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.files import write_atomically
from glassformer.interop import load
from glassformer.interop.adapters import refuse_two, with_adapters
from glassformer.model import Config, EncoderDecoder, TowersConfig, load_preset
from glassformer.model.kinds import kind_of
from glassformer.model.language_model import LanguageModel
from glassformer.model.parts import Lora
from glassformer.model.size import parameter_count
from glassformer.text.chat import PLAIN
from glassformer.text.chat_rows import ChatText
from glassformer.text.corpus import FIELD, Corpus
from glassformer.text.load import load_tokenizer
from glassformer.text.mixture import Mixture, mixture_summary, name_of, parts_of, shares
from glassformer.text.tokenizer import KINDS, Tokenizer
from glassformer.training.chat import context_of, for_chats, holds_chats, write_chats
from glassformer.training.checkpoint import steps_saved
from glassformer.training.corpora import Progress, open_data, write_corpus
from glassformer.training.data import BlocksData, Data
from glassformer.training.device import choose_device
from glassformer.training.options import FILE as OPTIONS
from glassformer.training.options import to_toml
from glassformer.training.plan import refuse_larger_than_memory
from glassformer.training.recipe import Recipe
from glassformer.training.run import Description, Run, unfilled_model
from glassformer.training.sizing import (
    LONGEST,
    is_learned_whole,
    measured,
    out_of_proportion,
    sized,
    spelled,
)
from glassformer.training.storyland import documents, write_storyland
from glassformer.training.storyland_chat import chat_tokenizer, write_storyland_chats
from glassformer.training.translation import (
    describe_translation,
    towers_of,
    translation_tokenizer,
)

TOKENIZER_CHARACTERS = 20_000_000  # of a corpus are enough to learn its vocabulary
WHOLE = "the whole text is learned: it is too short to hold out a part of it and measure on that"
FINE_TUNING = {"lr": 3e-4, "steps": 200, "warmup_steps": 20}
ADAPTING = {**FINE_TUNING, "lr": 3e-3}
"""Adapters learn at about ten times the rate at which all weights do."""


@dataclass(frozen=True)
class Choices:
    """What a person asks for; whatever is None or empty is decided by the preset.

    Without a preset a text decides the sizes.
    """

    texts: tuple[str, ...] = ()
    text_field: str = FIELD  # where rows have it
    template: str | None = None  # or how it is made of several of their fields
    separator: str | None = None  # of documents in a text file
    lora: Lora | None = None
    """Adapters that alone are trained, beside the weights of `start_from`."""
    document_mask: bool = False
    """Whether attention ends where its document begins, of several in a block."""
    weights: dict[str, float] = field(default_factory=dict)  # of several texts, by name
    preset: str | None = None
    start_from: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    model: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    """What was asked for in the words of the command line, for the run's train.toml."""


class Prepared(NamedTuple):
    """Everything `train` needs."""

    model: Any
    data: Data
    recipe: Recipe
    run: Run
    notes: tuple[str, ...] = ()  # what the person should know before it begins


def new_run(folder: Path, choices: Choices, progress: Progress = lambda share: None) -> Prepared:
    """Claim the folder, learn the tokenizer, write the tokens, make or load the model.

    `progress` is told which share of the text is tokens by now.
    """
    device = choose_device(choices.device)
    name = choices.preset or ("text" if choices.texts else "storyland")
    preset = load_preset(name)
    tuning = choices.start_from is not None
    if choices.lora is not None and not tuning:
        raise GlassformerError(
            "adapters stand beside the weights of a trained model; say of which by --from FOLDER"
        )
    language: str | None = preset.get("corpus", {}).get("language")
    written: str = preset.get("corpus", {}).get("kind", "storyland")  # where no text is given
    if language is not None:
        _refuse_for_translation(choices)
    made_chats = preset.get("corpus", {}).get("chats") == "storyland" and not choices.texts
    corpus, size, chats = None, None, False
    names = [name_of(text) for text in choices.texts]
    if choices.weights:
        shares(choices.weights, names)
    if choices.texts:
        corpus = Corpus(
            choices.texts,
            field=choices.text_field,
            separator=choices.separator,
            template=choices.template,
        )
        chats = choices.template is None and choices.text_field == FIELD and holds_chats(corpus)
        if chats and (choices.weights or choices.document_mask):
            raise GlassformerError(
                "chats are learned one by one; leave out --weights and --document-mask"
            )
        if chats:
            corpus.document = ChatText(PLAIN, {})
        if choices.preset is None and not tuning:
            size = measured(corpus.texts())
            preset = sized(size, preset, choices.tokenizer)
    recipe = Recipe.from_dict(
        {
            **(ADAPTING if choices.lora else FINE_TUNING if tuning else preset.get("training", {})),
            **choices.recipe,
        }
    )
    model: Any
    notes: tuple[str, ...] = ()
    run = Run.create(folder)
    try:
        torch.manual_seed(recipe.seed)
        if choices.start_from is not None:
            model, tokenizer = _loaded(choices.start_from, choices)
            _refuse_other_corpus(model, language)
        elif language is not None:
            tokenizer = translation_tokenizer(language)
            towers = towers_of(preset["model"], choices.model, tokenizer)
            refuse_larger_than_memory(towers, recipe.batch_size)
            model = EncoderDecoder(towers)
        else:
            if made_chats and choices.tokenizer is None and choices.vocab_size is None:
                tokenizer = chat_tokenizer()
            else:
                tokenizer = _tokenizer(choices, preset.get("tokenizer", {}), corpus, written)
            sizes = {**preset["model"], **choices.model, "vocab_size": tokenizer.vocab_size}
            if corpus is not None and chats and "n_ctx" not in choices.model:
                sizes["n_ctx"] = max(sizes["n_ctx"], context_of(corpus, tokenizer))
            if "d_mlp" in sizes:
                # as many times the stream's width as in the preset
                sizes["d_mlp"] = sizes["d_mlp"] * sizes["d_model"] // preset["model"]["d_model"]
            config = Config.from_dict(sizes)
            refuse_larger_than_memory(config, recipe.batch_size)
            model = kind_of(config)(config)
        if chats:
            tokenizer = for_chats(tokenizer)
        n_ctx = min(model.config.n_ctx, choices.model.get("n_ctx", model.config.n_ctx))
        masked = {} if model.config.causal else {"masked": True}
        described: dict[str, Any] = {"n_ctx": n_ctx, **masked}
        if choices.document_mask:
            if masked:
                raise GlassformerError(
                    "an encoder learns from texts one by one, so there is nothing to keep apart;"
                    " leave --document-mask out"
                )
            described["document_mask"] = True
        if corpus is not None and chats:
            described |= {"kind": "chat", "texts": [*choices.texts]}
            _, notes = write_chats(run.data, corpus, tokenizer, n_ctx, progress)
        elif corpus is not None:
            described |= {"kind": "text", "texts": [*choices.texts]}
            shard, notes = write_corpus(run.data, corpus, tokenizer, progress)
            if choices.weights:
                parts = parts_of(shard, names, choices.weights, corpus.n_documents)
                described["parts"] = [part._asdict() for part in parts]
            elif is_learned_whole(len(shard)):
                described["whole"] = True
                notes += (WHOLE,)
            if size is not None and size.n_characters < LONGEST:
                chosen = spelled(tokenizer.kind, model.config.to_dict(), recipe.to_dict())
                length = f"{size.n_characters:,} character{'' if size.n_characters == 1 else 's'}"
                notes += (f"for a text of {length}: {chosen}",)
            if not tuning and (choices.preset is not None or choices.model):
                too_large = out_of_proportion(parameter_count(model.config), len(shard))
                notes += () if too_large is None else (too_large,)
        elif made_chats:
            tokenizer = for_chats(tokenizer)
            floor = write_storyland_chats(run.data, tokenizer, recipe, n_ctx)
            described |= {"kind": "chat", "made": "storyland", "floor": floor}
        elif language is not None:
            described |= describe_translation(run.data, model, tokenizer, recipe, language)
        else:
            floor = write_storyland(run.data, tokenizer, recipe, written)
            described |= {"kind": written} if masked else {"kind": written, "floor": floor}
        data = open_data(run.data, described, tokenizer, recipe)
        if isinstance(data, BlocksData) and isinstance(data.blocks, Mixture):
            notes += (mixture_summary(data.blocks, recipe.steps * recipe.blocks_per_step),)
        description = Description(model.config, recipe, described, tokenizer.fingerprint)
        if choices.options:
            write_atomically(folder / OPTIONS, to_toml(choices.options))
        run.describe(description, tokenizer, model)
    except BaseException:
        run.close()
        raise
    model.tokenizer = tokenizer
    return Prepared(model.to(device), data, recipe, run, notes)


def resumed_run(folder: Path, device: str = "auto", follows: bool = False) -> Prepared:
    """Open a run to go on with it; the tokens are those it was started with.

    follows: for a rank that is not the first, after the first has opened or begun it.
    """
    where = choose_device(device)
    run = Run.reopen(folder, follows)
    try:
        described = run.description
        recipe = described.recipe
        refuse_larger_than_memory(described.model, recipe.batch_size)
        model = unfilled_model(folder, described)
        if not steps_saved(run.checkpoints):  # the folder holds the model that begins
            model.load_state_dict(load(folder)[0].state_dict())
        data = open_data(run.data, described.corpus, run.tokenizer, recipe)
        data.verify()
    except BaseException:
        run.close()
        raise
    model.tokenizer = run.tokenizer
    return Prepared(model.to(where), data, recipe, run)


def _refuse_for_translation(choices: Choices) -> None:
    """Refuse what a preset that writes its own translations has no use for."""
    options = (choices.tokenizer, choices.vocab_size)
    if choices.texts or options != (None, None) or choices.document_mask:
        raise GlassformerError(
            f"--preset {choices.preset} writes its own pairs of sentences and has a tokenizer of"
            " their words; leave out TEXT, --tokenizer, --vocab-size and --document-mask"
        )


def _refuse_other_corpus(model: LanguageModel[Any], language: str | None) -> None:
    """Refuse to train two towers on a text, or one on translations."""
    if isinstance(model, EncoderDecoder) and language is None:
        raise GlassformerError(
            "an encoder-decoder learns from pairs of sentences; say which by --preset translation"
        )
    if language is not None and not isinstance(model, EncoderDecoder):
        raise GlassformerError(
            "translations are for an encoder-decoder, and this model has one tower; leave out"
            " --preset, or --from to train a new one"
        )


def _with_dropout(config: Config | TowersConfig, dropout: float) -> Config | TowersConfig:
    if isinstance(config, Config):
        return config.replace(dropout=dropout)
    encoder, decoder = (c.replace(dropout=dropout) for c in (config.encoder, config.decoder))
    return config.replace(encoder=encoder, decoder=decoder)


def _loaded(name: str, choices: Choices) -> tuple[Any, Tokenizer]:
    kept = (choices.tokenizer, choices.vocab_size)
    if kept != (None, None) or set(choices.model) - {"n_ctx", "dropout"}:
        raise GlassformerError(
            "a model that is trained further keeps its sizes and its tokenizer; leave them out, or"
            " leave out --from to train a new one"
        )
    model, tokenizer = load(name)
    if choices.lora is not None or getattr(model.config, "lora", None) is not None:
        refuse_two(model.config)
    if tokenizer is None:
        raise GlassformerError(f"{name} has no tokenizer.json, so it can't read the text; add one")
    if "dropout" in choices.model:
        config = _with_dropout(model.config, choices.model["dropout"])
        changed = kind_of(config)(config)
        changed.load_state_dict(model.state_dict())
        changed.folder_settings = model.folder_settings
        model = changed
    if choices.lora is not None:
        model = with_adapters(model, choices.lora)
        base = str(Path(name).resolve()) if Path(name).is_dir() else name.removeprefix("hf:")
        model.folder_settings = replace(model.folder_settings, base=base)
    return model, tokenizer


def _tokenizer(
    choices: Choices, table: dict[str, Any], corpus: Corpus | None, written: str
) -> Tokenizer:
    kind = choices.tokenizer or table.get("kind", "bpe")
    if kind not in KINDS and Path(kind).exists():  # ./words is a folder of that name
        return load_tokenizer(kind)
    if kind not in KINDS:
        raise GlassformerError(
            f"--tokenizer {kind!r} is neither a folder nor one of {', '.join(KINDS)}."
            f"{did_you_mean(kind, KINDS)}"
        )
    same_kind = kind == table.get("kind")  # the preset's further settings are for its own kind
    if same_kind and "vocabulary" in table and choices.vocab_size is None:
        return Tokenizer.from_words(table["vocabulary"], lowercase=table.get("lowercase", False))
    texts = corpus.texts() if corpus is not None else _written_texts(written)
    size = choices.vocab_size
    if same_kind and table.get("masked"):
        characters = first_characters(texts, TOKENIZER_CHARACTERS)
        words = table.get("vocab_size") if size is None else size
        return Tokenizer.of_masked_words(characters, words, lowercase=table.get("lowercase", True))
    return Tokenizer.train(
        kind,
        first_characters(texts, TOKENIZER_CHARACTERS),
        vocab_size=table.get("vocab_size") if same_kind and size is None else size,
        lowercase=same_kind and table.get("lowercase", False),
    )


def _written_texts(kind: str) -> Iterator[str]:
    """Documents enough for every word of a corpus of ours to be among them."""
    return (document.text for document in documents("vocabulary", 5_000, kind))


def first_characters(texts: Iterable[str], n: int) -> Iterator[str]:
    """Texts up to the one that brings their length to n.

    >>> list(first_characters(["abc", "de", "f"], 4))
    ['abc', 'de']
    """
    lengths, texts = itertools.tee(texts)
    total = itertools.accumulate((len(text) for text in lengths), initial=0)
    return (text for text, before in zip(texts, total, strict=False) if before < n)
