"""Commands on an encoder-decoder: each works, or says in one line why not."""

import json

import pytest
import torch

import glassformer as gf

SENTENCES = ["the cat sleeps .", "le chat dort ."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two towers with random weights that know a few words, as a folder."""
    tokenizer = gf.Tokenizer.of_sentences(SENTENCES)
    tower = gf.Config(
        vocab_size=tokenizer.vocab_size, n_ctx=9, d_model=8, n_layers=2, n_heads=2, init_std=0.5
    )
    config = gf.TowersConfig(encoder=tower.replace(causal=False), decoder=tower, start_id=1)
    model = gf.EncoderDecoder(config, torch.Generator().manual_seed(3))
    path = tmp_path_factory.mktemp("towers")
    gf.save(model, tokenizer, path)
    return str(path)


def test_ask_answers_with_what_is_written_for_the_text(folder, glassformer):
    model, tokenizer = gf.load(folder)
    assert tokenizer is not None
    source = [tokenizer.encode_source("the cat sleeps")]
    ends = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
    expected = list(gf.generate(model, source=source, temperature=0, stop_ids=ends))
    shown = glassformer("ask", folder, "the cat sleeps", "--json")
    assert [token["id"] for token in json.loads(shown.stdout)["tokens"]] == expected
    written = glassformer("ask", folder, "the cat sleeps").stdout
    assert written.strip() == tokenizer.decode(expected).strip()


@pytest.mark.parametrize(
    "command",
    [
        ("lab", "ablate", "RUN", "the cat", "--head", "0.0"),
        ("lab", "lens", "RUN", "the cat"),
        ("ask", "RUN", "the cat", "--weights", "int8"),
    ],
    ids=" ".join,
)
def test_what_is_of_one_tower_alone_is_refused_in_one_line(folder, glassformer, command):
    shown = glassformer(*(folder if part == "RUN" else part for part in command))
    assert shown.code == 2
    assert "two towers" in shown.stderr
    assert "Traceback" not in shown.stderr
