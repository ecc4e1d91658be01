"""From choices to a model, its data and a run folder: a new run, a fine-tuning, a resumed run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.interop import load
from glassformer.interop.open import reads_text, without_tokenizer
from glassformer.model import Config, TowersConfig, load_preset
from glassformer.model.adapted import refuse_two, with_adapters
from glassformer.model.kinds import AnyModel, kind_of
from glassformer.text.mixture import Mixture, mixture_summary
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.checkpoint import steps_saved
from glassformer.training.choices import Choices
from glassformer.training.corpora import Progress, open_data
from glassformer.training.data import BlocksData, Data
from glassformer.training.device import choose_device
from glassformer.training.muon import muon_parameters
from glassformer.training.options import FILE as OPTIONS
from glassformer.training.options import to_toml
from glassformer.training.plan import (
    refuse_larger_than_memory,
    refuse_steps_larger_than_memory,
)
from glassformer.training.recipe import Recipe
from glassformer.training.run import Description, Run, load_run, unfilled_model
from glassformer.training.source import Begun, Source
from glassformer.training.sources import source_of
from glassformer.training.trainable import train_only

FINE_TUNING = {"lr": 3e-4, "steps": 200, "warmup_steps": 20}
ADAPTING = {**FINE_TUNING, "lr": 3e-3}
"""Adapters learn at about ten times the rate at which all weights do."""

PREFERRING = {**FINE_TUNING, "lr": 2e-5, "batch_size": 16}
PREFERRING_BY_ADAPTERS = {**PREFERRING, "lr": 2e-4}
"""At five times the rate a chat model forgets right replies (guide, "Preferences")."""


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
    device, source, recipe = _asked(choices)
    run = Run.create(folder)
    try:
        torch.manual_seed(recipe.seed)
        model, tokenizer = _model(choices, source, recipe, source.begin)
        data, corpus, notes = _tokens(run.data, source, model, tokenizer, recipe, progress)
        if isinstance(data, BlocksData) and isinstance(data.blocks, Mixture):
            notes += (mixture_summary(data.blocks, recipe.steps * recipe.blocks_per_step),)
        if choices.options:
            write_atomically(folder / OPTIONS, to_toml(choices.options))
        description = Description(model.config, recipe, corpus, tokenizer.fingerprint)
        run.describe(description, tokenizer, model)
    except BaseException:
        run.close()
        raise
    model.tokenizer = tokenizer
    return Prepared(model.to(device), data, recipe, run, notes)


def check(choices: Choices) -> None:
    """Raise what `new_run` would, without its time: a long text's tokens are not written.

    A model that is trained further is read.
    """
    _, source, recipe = _asked(choices)
    model, tokenizer = _model(choices, source, recipe, source.rehearse)
    if source.is_short:
        with TemporaryDirectory() as folder:
            _tokens(Path(folder) / "tokens", source, model, tokenizer, recipe)
    else:
        _blocks(source, model)


def _asked(choices: Choices) -> tuple[torch.device, Source, Recipe]:
    """Where is trained, what is learned and how, before any of it is read."""
    device = choose_device(choices.device)
    if choices.lora is not None and choices.start_from is None:
        raise GlassformerError(
            "adapters stand beside the weights of a trained model; say of which by --from FOLDER"
        )
    if choices.lora is not None and choices.recipe.get("only"):
        raise GlassformerError("--lora trains adapters and nothing else; leave --only out")
    source = source_of(
        choices, load_preset(choices.preset or ("text" if choices.texts else "storyland"))
    )
    return device, source, _recipe(choices, source.preset)


def _model(
    choices: Choices,
    source: Source,
    recipe: Recipe,
    begin: Callable[[Recipe], tuple[AnyModel, Tokenizer]],
) -> tuple[AnyModel, Tokenizer]:
    """A new model, or the one to train further, and its tokenizer."""
    if choices.start_from is None:
        model, tokenizer = begin(recipe)
    else:
        model, tokenizer = _trained(choices.start_from, choices)
        source.accept(model)
    train_only(model, recipe.only)
    muon_parameters(model, recipe)  # refuses what it can't train
    return model, source.with_template(tokenizer)


def _tokens(
    folder: Path,
    source: Source,
    model: AnyModel,
    tokenizer: Tokenizer,
    recipe: Recipe,
    progress: Progress = lambda share: None,
) -> tuple[Data, dict[str, Any], tuple[str, ...]]:
    """Write what is learned into a folder: the data, what run.json says of it, and notes."""
    blocks = _blocks(source, model)
    written = source.write(folder, Begun(model, tokenizer, recipe, blocks["n_ctx"], progress))
    corpus = {**blocks, **written.corpus}
    data = open_data(folder, corpus, tokenizer, recipe)
    refuse_steps_larger_than_memory(data, recipe)
    return data, corpus, written.notes


def _recipe(choices: Choices, preset: dict[str, Any]) -> Recipe:
    usual = preset.get("training", {})
    if choices.start_from is not None:
        full, adapters = (
            (FINE_TUNING, ADAPTING)
            if choices.beta is None
            else (PREFERRING, PREFERRING_BY_ADAPTERS)
        )
        usual = full if choices.lora is None else adapters
    return Recipe.from_dict({**usual, **choices.recipe})


def _blocks(source: Source, model: AnyModel) -> dict[str, Any]:
    """What run.json says of how tokens become blocks."""
    choices, causal, longest = source.choices, model.config.causal, model.config.n_ctx
    if choices.document_mask and not causal:
        raise GlassformerError(
            "an encoder learns from texts one by one, so there is nothing to keep apart;"
            " leave --document-mask out"
        )
    masked = {} if causal else {"masked": True}
    apart = {"document_mask": True} if choices.document_mask else {}
    n_ctx = min(longest, choices.model.get("n_ctx", longest))
    source.check_context(n_ctx)
    return {"n_ctx": n_ctx, **masked, **apart}


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
            _refuse_without_checkpoints(folder)
            model.load_state_dict(load(folder)[0].state_dict())
        data = open_data(run.data, described.corpus, run.tokenizer, recipe)
        data.verify()
    except BaseException:
        run.close()
        raise
    model.tokenizer = run.tokenizer
    return Prepared(model.to(where), data, recipe, run)


def _refuse_without_checkpoints(folder: Path) -> None:
    """Raise where steps were made, so that the folder's model is not the one that began."""
    done = load_run(folder).steps_done
    if done:
        raise GlassformerError(
            f"{folder} made {done:,} steps and has no checkpoint of them, so it can't go on as it"
            f" was; its model can: --from {folder} and another --out"
        )


def _with_dropout(config: Config | TowersConfig, dropout: float) -> Config | TowersConfig:
    if isinstance(config, Config):
        return config.replace(dropout=dropout)
    encoder, decoder = (c.replace(dropout=dropout) for c in (config.encoder, config.decoder))
    return config.replace(encoder=encoder, decoder=decoder)


def _trained(name: str, choices: Choices) -> tuple[Any, Tokenizer]:
    kept = (choices.tokenizer, choices.vocab_size)
    if kept != (None, None) or set(choices.model) - {"n_ctx", "dropout"}:
        raise GlassformerError(
            "a model that is trained further keeps its sizes, its activation function and its"
            " tokenizer; leave them out, or leave out --from to train a new one"
        )
    if not reads_text(name):
        raise without_tokenizer(name)
    model, tokenizer = load(name)
    n_ctx = choices.model.get("n_ctx", model.config.n_ctx)
    if n_ctx > model.config.n_ctx:
        raise GlassformerError(
            f"--n-ctx {n_ctx:,} is more than the {model.config.n_ctx:,} positions that this model"
            " reads; leave it out, or give fewer"
        )
    if choices.lora is not None or getattr(model.config, "lora", None) is not None:
        refuse_two(model.config)
    if tokenizer is None:
        raise without_tokenizer(name)
    if "dropout" in choices.model:
        config = _with_dropout(model.config, choices.model["dropout"])
        changed = kind_of(config)(config)
        changed.load_state_dict(model.state_dict())
        changed.folder_settings = model.folder_settings
        model = changed
    if choices.lora is not None:
        if isinstance(model.config, Config) and choices.lora.rank > model.config.d_model:
            raise GlassformerError(
                f"--lora {choices.lora.rank:,} is more than d_model={model.config.d_model:,}, the"
                " rank of a whole matrix; 8 is usual"
            )
        model = with_adapters(model, choices.lora)
        base = str(Path(name).resolve()) if Path(name).is_dir() else name.removeprefix("hf:")
        model.folder_settings = replace(model.folder_settings, base=base)
    return model, tokenizer
