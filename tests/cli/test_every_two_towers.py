"""Every command on a small random folder of every family of an encoder and a decoder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import glassformer as gf
from glassformer.interop.open import load
from glassformer.model import TowersConfig
from tests.cli.test_every_family import TEXT, done
from tests.command_line import Command
from tests.parity.families import CASES, TOWERS, their_model
from tests.server.served import client, node_table, open_trace

pytestmark = pytest.mark.heavy

SOURCE = "the cat sat"


@pytest.fixture
def columns() -> int:
    return 100


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((model_type, settings), id=f"{model_type} {i}")
        for model_type, i, settings in CASES
        if model_type in TOWERS
    ],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `transformers` writes it; its decoder may have more ids than its encoder."""
    model_type, settings = request.param
    folder = tmp_path_factory.mktemp("towers") / "model"
    more = {"decoder_vocab_size": 277} if "decoder_vocab_size" in settings else {}
    theirs = their_model(model_type, {**settings, "vocab_size": 275, **more})
    theirs.to(torch.float32).save_pretrained(folder)
    gf.Tokenizer.train("bpe", [TEXT * 9], vocab_size=272).save(folder)
    return folder


@pytest.fixture(scope="module")
def layers(folder: Path) -> tuple[int, int]:
    """The last layer of the encoder and that of the decoder."""
    config = load(folder)[0].config
    assert isinstance(config, TowersConfig)
    return config.encoder.n_layers - 1, config.decoder.n_layers - 1


def test_it_answers_and_shows_and_explains_numbers(glassformer: Command, folder, layers):
    answer = json.loads(glassformer("ask", folder, SOURCE, "--json").stdout)
    assert 1 <= len(answer["tokens"]) <= 19
    printed = done(glassformer, "trace", folder, SOURCE)
    assert "cross_attn.pattern" in printed
    first, last = layers
    for address in (
        "logits[pos=0,vocab=7]",
        f"encoder.blocks.{first}.attn.pattern[head=1,source_query=1,source_key=2]",
        f"decoder.blocks.{last}.cross_attn.attn_scores[head=1,query=0,source_key=1]",
        f"decoder.blocks.{last}.mlp.post[pos=0,d_mlp=5]",
        f"bwd/encoder.blocks.{first}.mlp.W_out[d_mlp=3,d_model=1]",
        f"opt/decoder.blocks.{last}.cross_attn.W_O.v[head=1,d_head=2,d_model=3]",
    ):
        data = json.loads(done(glassformer, "explain", folder, SOURCE, address, "--json"))
        assert data["agrees"], address
        assert data["operands"], address


def test_a_head_of_cross_attention_is_switched_off(glassformer: Command, folder, layers):
    _, last = layers
    off = done(glassformer, "lab", "ablate", folder, SOURCE, "--cross", f"{last}.1", "--json")
    written = json.loads(off)["written"]
    assert written
    assert all(0 <= word["after"] <= 1 for word in written)
    assert any(word["after"] != word["before"] for word in written)


def test_it_is_drawn_counted_and_put_on_a_page(glassformer: Command, folder, tmp_path):
    done(glassformer, "plot", folder, SOURCE, "--out", tmp_path / "pictures")
    assert (tmp_path / "pictures" / "alignment.png").is_file()
    counted = re.search(r"Total +([\d,]+)", done(glassformer, "params", folder))
    assert counted is not None
    stored = sum(p.numel() for p in load(folder)[0].parameters())
    assert int(counted[1].replace(",", "")) == stored
    done(glassformer, "page", folder, SOURCE, "--out", tmp_path / "page.html")
    server = client(str(folder))
    about = open_trace(server, run="model", prompt=SOURCE)
    names = {node["address"] for node in node_table(server, about)["nodes"]}
    assert {"fwd/logits", "fwd/decoder.blocks.0.cross_attn.pattern"} <= names


def test_it_is_given_away_as_the_family_that_it_is(glassformer: Command, folder, tmp_path):
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    done(glassformer, "export", folder, tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == model_type
    ours, theirs = load(folder)[0].state_dict(), load(tmp_path / "hf")[0].state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
