"""GGUF, the one file that llama.cpp and what is built on it read: settings, tokens and tensors.

Tensors have the names that the package `gguf` gives to those of `transformers`, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.files import ordinary_mode
from glassformer.interop.folder import tensors_of
from glassformer.interop.match import form_for
from glassformer.model import Config, Decoder
from glassformer.model.effective import effective
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.vocabulary import is_byte

if TYPE_CHECKING:
    from gguf import GGUFWriter

SPACE = "▁"  # how a vocabulary of characters writes a space there


class Target(NamedTuple):
    """How llama.cpp has a family: under which name, and how its arrays lie there."""

    name: str
    turns_neighbors: bool = False  # pairs of dimensions lie side by side, not in two halves
    in_by_out: tuple[str, ...] = ()  # ends of names of matrices [in, out]; there [out, in]


_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
TARGETS = {
    "gpt2": Target("gpt2", in_by_out=_CONV1D),
    "llama": Target("llama", turns_neighbors=True),
    "arcee": Target("arcee", turns_neighbors=True),
    "qwen2": Target("qwen2"),
    "qwen3": Target("qwen3"),
}


def write_gguf(model: Decoder, tokenizer: Tokenizer, path: Path) -> None:
    """Write a model and its tokenizer as one GGUF file.

    Errors: a family or a tokenizer that has no form there, by name; without the package `gguf`.
    """
    try:
        import gguf
    except ImportError as error:
        raise GlassformerError(
            "writing GGUF needs the package gguf; pip install 'glassformer[gguf]'"
        ) from error
    form = form_for(model.config, model.folder_settings.model_type)
    config = form.with_all_parameters(model.config)
    _refuse(form.model_type, config)
    target = TARGETS[form.model_type]
    with ordinary_mode(path):
        writer = gguf.GGUFWriter(str(path), target.name)
        _write_settings(writer, config)
        _write_tokens(writer, tokenizer, config.vocab_size)
        kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
        names = gguf.get_tensor_name_map(kinds[target.name], config.n_layers)
        for theirs, tensor in tensors_of(form, model).items():
            name = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise GlassformerError(f"{theirs} has no name in a GGUF of {target.name}")
            writer.add_tensor(name, _array(tensor, theirs, target, config))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _refuse(model_type: str, config: Config) -> None:
    if model_type not in TARGETS:
        raise GlassformerError(
            f"a model of the family {model_type} can't be written as GGUF here, only"
            f" {', '.join(TARGETS)}; take --to hf, which llama.cpp's own converter may read"
        )
    used = effective(config)
    usual = {"rotary_scaling": None, "windows": (), "rotary_dims": 0}
    for name, value in usual.items():
        setting = getattr(used, name)
        if setting != value and not (name == "rotary_dims" and setting == config.d_head):
            raise GlassformerError(
                f"{name}={setting!r} can't be written as GGUF here; take --to hf, which llama.cpp's"
                " own converter may read"
            )


def _write_settings(writer: GGUFWriter, config: Config) -> None:
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.d_mlp)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(0)  # all float32
    if config.norm == "rms":
        writer.add_layer_norm_rms_eps(config.norm_eps)
    else:
        writer.add_layer_norm_eps(config.norm_eps)
    if config.position == "rotary":
        writer.add_key_length(config.d_head)
        writer.add_value_length(config.d_head)
        writer.add_rope_dimension_count(config.d_head)
        writer.add_rope_freq_base(config.rotary_base)


def _array(tensor: Tensor, theirs: str, target: Target, config: Config) -> np.ndarray:
    """A tensor as it lies in the file."""
    heads = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}
    which = theirs.rsplit(".", 2)[-2]
    if theirs.endswith(target.in_by_out):
        tensor = tensor.T
    elif target.turns_neighbors and which in heads:
        halves = tensor.reshape(heads[which], 2, config.d_head // 2, *tensor.shape[1:])
        tensor = halves.transpose(1, 2).reshape(tensor.shape)
    return tensor.detach().cpu().to(torch.float32).contiguous().numpy()


def _write_tokens(writer: GGUFWriter, tokenizer: Tokenizer, vocab_size: int) -> None:
    """The vocabulary, padded to that of the model."""
    from gguf import TokenType

    vocabulary, content = tokenizer.vocabulary, tokenizer.content
    _refuse_tokenizer(tokenizer)
    names = [*vocabulary.names, *(f"[unused {i}]" for i in range(len(vocabulary), vocab_size))]
    added = {token["content"] for token in content["added_tokens"]}
    is_chars = tokenizer.kind == "chars"

    def kind(token_id: int, name: str) -> TokenType:
        if token_id >= len(vocabulary) or not name:
            return TokenType.UNUSED
        if name in vocabulary.special:
            return TokenType.CONTROL
        if name in added:
            return TokenType.USER_DEFINED
        return TokenType.BYTE if is_chars and is_byte(name) else TokenType.NORMAL

    writer.add_tokenizer_model("llama" if is_chars else "gpt2")
    writer.add_tokenizer_pre("default" if is_chars else "gpt-2")
    spelled = [name.replace(" ", SPACE) for name in names] if is_chars else names
    writer.add_token_list([name or f"[unused {i}]" for i, name in enumerate(spelled)])
    writer.add_token_types([int(kind(i, name)) for i, name in enumerate(names)])
    if is_chars:
        writer.add_token_scores([0.0] * len(names))
        writer.add_add_space_prefix(False)
    else:
        writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    eos, bos = tokenizer.eos_id, tokenizer.bos_id
    if eos is not None and bos is not None:
        writer.add_bos_token_id(bos)
        writer.add_eos_token_id(eos)
        writer.add_unk_token_id(eos)
    writer.add_add_bos_token(bool(tokenizer.begin_ids))
    writer.add_add_eos_token(False)


def _refuse_tokenizer(tokenizer: Tokenizer) -> None:
    """Only tokenizers that llama.cpp splits a text with as we do."""
    content: Mapping[str, Any] = tokenizer.content
    splitter = content["pre_tokenizer"] or {}
    reason = ""
    if tokenizer.kind not in ("chars", "bpe"):
        reason = f"is of {tokenizer.kind}"
    elif tokenizer.kind == "chars" and SPACE in tokenizer.vocabulary.names:
        reason = f"has the character {SPACE}, which GGUF keeps for the space,"
    elif content["normalizer"] is not None:
        reason = f"changes a text first ({content['normalizer']['type']})"
    elif tokenizer.kind == "bpe" and (
        splitter.get("type") != "ByteLevel"
        or splitter.get("add_prefix_space")
        or not splitter.get("use_regex", True)
    ):
        reason = f"does not split a text as GPT-2's does ({splitter.get('type', 'not at all')})"
    elif tokenizer.begin_ids not in ([], [tokenizer.bos_id]):
        reason = "begins every text with several tokens"
    if reason:
        raise GlassformerError(
            f"the tokenizer {reason} and has no form in GGUF here; characters and byte-level BPE"
            " split as GPT-2's have one (train with --tokenizer bpe or chars), or take --to hf"
        )
