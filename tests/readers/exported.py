"""Small models as `export` writes them, and texts to give them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from glassformer.generation.generate import generate
from glassformer.interop.export import Kind, export
from glassformer.interop.folder import load_folder
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.card import card
from tests.interop.models import random_model

TEXT = "the cat sat on the mat. The dog's bone isn't here, 12 times!\n"
LIKE_LLAMA: dict[str, Any] = {
    "position": "rotary",
    "norm": "rms",
    "norm_bias": False,
    "gated": True,
    "activation": "silu",
    "attn_bias": False,
    "mlp_bias": False,
}
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {**LIKE_LLAMA, "n_kv_heads": 2, "tied": False},
    "qwen3": {**LIKE_LLAMA, "qk_norm": True},
}
NEW = 50  # tokens of a greedy text
PROMPT = "the cat isn't here, 12 dogs"


def exported(folder: Path, family: str, kind: str = "bpe", to: Kind = "hf") -> Decoder:
    """Write a random model of a family into a new folder; the model as it is read here."""
    tokenizer = Tokenizer.train(kind, [TEXT * 20], vocab_size=300 if kind == "bpe" else None)
    sizes = {"vocab_size": tokenizer.vocab_size, "n_ctx": 96, "d_model": 32, "n_layers": 2}
    config = Config.from_dict({**sizes, "n_heads": 4, "d_mlp": 64, **SHAPES[family]})
    model = random_model(config)
    model.tokenizer = tokenizer
    export(model, folder, card("small", model, None), to)
    return model if to == "gguf" else load_folder(folder)[0]


def tokenizer_of(model: Decoder) -> Tokenizer:
    assert isinstance(model.tokenizer, Tokenizer)
    return model.tokenizer


def strings(n: int = 1_000) -> list[str]:
    """Texts of words, signs, spaces and letters that no vocabulary here has."""
    draw = random.Random(0)
    pieces = [
        *TEXT.split(" "),
        " ",
        "  ",
        "\n",
        "\t",
        "é",
        "語",
        "🙂",
        "''",
        "<eos>x"[5:],
        "it's",
        "3.14",
    ]
    return [" ".join(draw.choices(pieces, k=draw.randint(1, 12))) for _ in range(n)]


def greedy(model: Decoder, prompt: list[int], stop_ids: list[int] | None = None) -> list[int]:
    """The most probable continuation, token by token."""
    return [*generate(model, prompt, max_new_tokens=NEW, temperature=0, stop_ids=stop_ids or [])]


@torch.no_grad()
def logits(model: Decoder, ids: list[int]) -> torch.Tensor:
    """[pos, vocab]"""
    return model(torch.tensor([ids]))[0]
