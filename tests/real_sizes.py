"""Folders of the sizes that people use, with random weights: nothing is downloaded for them."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)

SIZES: dict[str, dict[str, Any]] = {
    # Qwen3-0.6B's own configuration
    "qwen3 0.6B": {
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "max_position_embeddings": 40960,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
    },
    # Llama 3.2 1B's
    "llama 1B": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    # 0.1B in the two shapes, with a small vocabulary, so that the layers are what counts
    "llama 0.1B": {
        "model_type": "llama",
        "vocab_size": 8192,
        "hidden_size": 768,
        "num_hidden_layers": 14,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "intermediate_size": 2048,
        "tie_word_embeddings": True,
    },
    "qwen3 0.1B": {
        "model_type": "qwen3",
        "vocab_size": 8192,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 128,
        "intermediate_size": 2304,
        "tie_word_embeddings": True,
    },
}


def write(name: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> int:
    """Write a model and a tokenizer of nearly as many tokens; the bytes of the weights."""
    settings = dict(SIZES[name])
    config = AutoConfig.for_model(settings.pop("model_type"), dtype=dtype, **settings)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for key, tensor in model.named_parameters():
        filled = torch.empty(tensor.shape, dtype=dtype)
        norm = "norm" in key
        tensors[key] = filled.fill_(1) if norm else filled.normal_(0, 0.02, generator=generator)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    write_tokenizer(folder, config.vocab_size - 256)
    return sum(tensor.nbytes for tensor in tensors.values())


def write_tokenizer(folder: Path, size: int) -> None:
    """Byte-level BPE whose tokens are bytes, pairs and triples of letters, and an end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [*product("Ġ" + ascii_letters, ascii_letters)]
    triples = [(left + right, third) for left, right in pairs for third in ascii_letters]
    merges = [*pairs, *triples][: size - len(alphabet) - 1]
    names = ["<|endoftext|>", *alphabet, *(left + right for left, right in merges)]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(names))}
    engine = Tokenizer(models.BPE(vocab, merges))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.add_special_tokens(["<|endoftext|>"])
    engine.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
