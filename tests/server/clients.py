"""A small model in a folder, served to clients of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import torch

import glassformer as gf
from glassformer.model import Config, Decoder
from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from glassformer.text.tokenizer import Tokenizer
from tests.server.served import listening

TEXT = "the cat sat on the mat. The dog's bone isn't here, 12 times! é語🙂\n"


def make_model(
    folder: Path, n_ctx: int = 64, tokenizer: Tokenizer | None = None, **sizes: Any
) -> Decoder:
    """Save a model of random weights; its tokenizer, of pieces, has seen texts of all kinds."""
    tokenizer = tokenizer or Tokenizer.train("bpe", [TEXT * 20], vocab_size=300)
    torch.manual_seed(1)
    config = Config(
        vocab_size=tokenizer.vocab_size,
        n_ctx=n_ctx,
        **{"d_model": 32, "n_layers": 2, "n_heads": 4, **sizes},
    )
    model = Decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    gf.save(model, tokenizer, folder)
    return gf.load(folder)[0]


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's own client of a server of this folder."""
    app = create_app(Runs([str(folder)]), **options)
    with listening(app) as (port, _):
        yield client_of(port)


def client_of(port: int, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=120
    )
