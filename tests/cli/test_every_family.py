"""Every command on a small random folder of every family that opens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.interop.gguf_file import TARGETS
from glassformer.interop.open import config_of, load
from glassformer.model import Config
from glassformer.text.tokenizer import Tokenizer
from tests.command_line import Command, done
from tests.parity.families import CASES, ENCODERS, TOWERS, their_model
from tests.server.served import client, data_block, node_table, open_trace

TEXT = "the cat sat on the mat. the dog sat on the cat. "
PROMPT = "the cat sat on the"
QUICK = {("gemma2", 0)}  # norms of both kinds, caps, windows, gates


@pytest.fixture
def columns() -> int:
    return 100


def cases() -> list[Any]:
    return [
        pytest.param(
            (model_type, settings),
            id=f"{model_type} {i}",
            marks=[] if (model_type, i) in QUICK else pytest.mark.heavy,
        )
        for model_type, i, settings in CASES
        if model_type not in {**ENCODERS, **TOWERS}  # test_encoder.py, test_every_two_towers.py
    ]


@pytest.fixture(scope="module")
def config(folder: Path) -> Config:
    config = config_of(folder)
    assert isinstance(config, Config)
    return config


@pytest.fixture(scope="module")
def last(config: Config) -> int:
    """The last layer: short tables show it."""
    return config.n_layers - 1


@pytest.fixture(scope="module")
def has_experts(config: Config, last: int) -> bool:
    return config.has_experts(last)


@pytest.fixture(scope="module", params=cases())
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `transformers` writes it, whose model has more ids than its tokenizer tokens."""
    model_type, settings = request.param
    folder = tmp_path_factory.mktemp("family") / "model"
    theirs = their_model(model_type, {**settings, "vocab_size": 275})
    theirs.to(torch.float32).save_pretrained(folder)
    Tokenizer.train("bpe", [TEXT * 9], vocab_size=272).save(folder)
    return folder


def test_it_answers_and_shows_and_explains_numbers(glassformer: Command, folder, last, has_experts):
    answer = glassformer("ask", folder, PROMPT, "--max-tokens", 4, "--seed", 1, "--table")
    assert answer.code == 0
    assert answer.stdout.startswith(PROMPT)
    tokens = re.search(r"\n([0-4]) tokens? \(", answer.stdout)
    assert tokens
    assert ("first token is <eos>" in answer.stderr) == (tokens[1] == "0")
    assert f"LAYER {last}" in done(glassformer, "trace", folder, PROMPT, "--short")
    done(glassformer, "trace", folder, PROMPT)
    for address in (
        "logits[pos=3,vocab=7]",
        f"blocks.{last}.attn.pattern[head=1,query=3,key=2]",
        f"blocks.{last}.mlp.post[pos=2,{'choice=0,' if has_experts else ''}d_mlp=5]",
        f"bwd/blocks.{last}.attn.attn_out[pos=2,d_model=3]",
        f"bwd/blocks.{last}.mlp.W_out[{'expert=1,' if has_experts else ''}d_mlp=3,d_model=1]",
        f"opt/blocks.{last}.attn.W_O.v[head=1,d_head=2,d_model=3]",
        "opt/embed.W_E[vocab=99,d_model=3]",
        "choose/token",
    ):
        data = json.loads(done(glassformer, "explain", folder, PROMPT, address, "--json"))
        assert data["agrees"], address
        assert data["operands"], address
    assert "surprise" in done(glassformer, "step", folder, PROMPT)


def test_the_lab_works_on_it(glassformer: Command, folder, last, has_experts):
    part = "--expert" if has_experts else "--neuron"
    for change in (["--head", f"{last}.1"], [part, f"{last}.1"], ["--layer", last]):
        assert "values changed" in done(glassformer, "lab", "ablate", folder, PROMPT, *change)
    other = "the dog sat on the"
    both = [len(Tokenizer.load(folder).encode(text)) for text in (PROMPT, other)]
    value = f"blocks.0.resid_post[pos={min(both) - 1}]"
    patched = done(glassformer, "lab", "patch", folder, PROMPT, "--from", other, value)
    assert "values changed" in patched
    assert "values changed" in done(glassformer, "lab", "edit", folder, PROMPT, f"{value}=0")
    assert f"layer {last}" in done(glassformer, "lab", "lens", folder, PROMPT)
    shares = json.loads(done(glassformer, "lab", "attribution", folder, PROMPT, "--json"))
    size = 1 + sum(abs(share["logits"]) for share in shares["shares"])
    assert abs(shares["total"] - shares["logit"]) < 1e-5 * size  # float32's digits
    assert "cosine" in done(glassformer, "lab", "neighbors", folder, "the")
    assert "Induction" in done(glassformer, "lab", "in-context", folder)


def test_it_is_drawn_counted_and_put_on_a_page(glassformer: Command, folder, tmp_path):
    done(glassformer, "plot", folder, PROMPT, "--out", tmp_path / "pictures")
    assert len([*(tmp_path / "pictures").iterdir()]) >= 3
    counted = re.search(r"Total +([\d,]+)", done(glassformer, "params", folder))
    assert counted is not None
    stored = sum(p.numel() for p in load(folder)[0].parameters())
    assert int(counted[1].replace(",", "")) == stored
    done(glassformer, "page", folder, PROMPT, "--out", tmp_path / "page.html")
    [model] = data_block((tmp_path / "page.html").read_text(encoding="utf-8"))["models"].values()
    assert model
    server = client(str(folder))
    about = open_trace(server, run="model")
    assert (about["backward"], about["optimizer"]) == (True, True)
    names = {node["address"] for node in node_table(server, about)["nodes"]}
    assert {"fwd/logits", "bwd/embed.W_E", "opt/embed.W_E", "choose/token"} <= names


def test_it_is_trained_further_and_given_away(glassformer: Command, folder, tmp_path):
    (text := tmp_path / "text.txt").write_text(TEXT * 20)
    run = tmp_path / "run"
    trained = glassformer("train", text, "--from", folder, "--out", run, "--steps", 2)
    assert trained.code == 0, trained.stderr
    assert done(glassformer, "ask", run, PROMPT, "--max-tokens", 2).startswith(PROMPT)
    done(glassformer, "export", folder, tmp_path / "hf")
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == model_type
    packed = glassformer("export", folder, tmp_path / "gguf", "--to", "gguf")
    if packed.code:
        assert packed.stderr.count("\n") == 1
        assert "can't be written as GGUF here" in packed.stderr
    else:
        assert model_type in TARGETS
        assert (tmp_path / "gguf" / "model.gguf").is_file()
