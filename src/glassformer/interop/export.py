"""A model to give away: what other programs read, a card about it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, cast

import torch

from glassformer.errors import GlassformerError
from glassformer.files import staged, write_atomically
from glassformer.interop.folder import save
from glassformer.interop.gguf_file import write_gguf
from glassformer.interop.match import form_for, what_no_family_has
from glassformer.interop.own import OWN
from glassformer.jsons import read_json
from glassformer.model import Config, Decoder, EncoderDecoder
from glassformer.model.adapted import merged
from glassformer.model.kinds import AnyModel, kind_of
from glassformer.text import tokenizer_files
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import SILENT

Kind = Literal["hf", "gguf"]
CARD, GGUF = "README.md", "model.gguf"


def export(model: AnyModel, folder: str | Path, card: str, to: Kind = "hf") -> None:
    """Write a model, its tokenizer and a card about it to a new or empty folder.

    "hf": the form of a family that `transformers` knows; "gguf": one file for llama.cpp. A model
    that none of these expresses, one without a tokenizer and a folder that holds something are
    refused, and nothing is written. Adapters are merged; where no family expresses the model, its
    own form has them merged, too.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise GlassformerError(f"{folder} {what}; name a new folder for the export")
    if to == "gguf" and not isinstance(model, Decoder):
        raise GlassformerError(
            "a model with an encoder can't be written as GGUF here; leave --to out, and it is"
            " written for transformers"
        )
    adapted = has_adapters(model)
    model = folded(model)
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, Tokenizer):
        raise GlassformerError(
            "the model has no tokenizer, and without one no program could give it a text; put the"
            " tokenizer.json that it was trained with into its folder"
        )
    in_own = form_for(model.config, model.folder_settings.model_type) is OWN
    if in_own and (to == "gguf" or not adapted):
        raise GlassformerError(
            f"{what_no_family_has(model.config)}; its own folder is what there is to give away, and"
            " Glassformer reads it"
        )
    try:
        with staged(folder) as stage:
            if to == "gguf":
                write_gguf(cast("Decoder", model), tokenizer, stage / GGUF)
            else:
                save(model, tokenizer, stage)
                _name_an_unknown(stage / tokenizer_files.CONFIG, tokenizer)
            write_atomically(stage / CARD, card)
    except OSError as error:
        raise GlassformerError(
            f"the model could not be written to {folder}: {error}; free some space or name another"
            " folder"
        ) from error


def has_adapters(model: AnyModel) -> bool:
    """Whether matrices of the model have adapters beside them."""
    return isinstance(model.config, Config) and model.config.lora is not None


def export_config(config: Config) -> Config:
    """The configuration that is written for this one: adapters are in the weights they are beside.

    Where no family has its norm of embeddings, that norm is in their table: it depends on the token
    alone, where no position is added and the head is another matrix.
    """
    config = config.replace(lora=None)
    alone = config.position in ("rotary", "alibi", "none") and not config.tied
    folds = config.embed_norm and alone and config.embed_scale == 1 and config.causal
    if not folds or form_for(config) is not OWN:
        return config
    return config.replace(embed_norm=False)


def folded(model: AnyModel) -> AnyModel:
    """The model that `export` writes for this one; it computes the same logits."""
    if isinstance(model, EncoderDecoder):
        return model
    model = merged(model)
    config = export_config(model.config)
    if config == model.config or model.ln_embed is None:
        return model
    W_E = model.embed.W_E
    other: AnyModel = kind_of(config).unfilled(config, W_E.dtype, W_E.device)
    with torch.no_grad():
        kept = {n: p for n, p in model.state_dict().items() if not n.startswith("ln_embed.")}
        other.load_state_dict({**kept, "embed.W_E": model.ln_embed(W_E[None], SILENT)[0]})
    other.folder_settings, other.tokenizer = model.folder_settings, model.tokenizer
    return other.eval()


def _name_an_unknown(path: Path, tokenizer: Tokenizer) -> None:
    """Some programs open no tokenizer without an unknown token: one that needs none names its end.

    GPT-2's does the same.
    """
    content = read_json(path)
    if content.get("unk_token") is None and tokenizer.eos is not None:
        write_atomically(path, json.dumps({**content, "unk_token": tokenizer.eos}, indent=2))
