"""Every command on an encoder: it does what makes sense of a blank, or says in a line what does."""

import json
import shlex

import pytest

import glassformer as gf
from glassformer.cli.training import sample
from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.prepare import new_run
from tests.command_line import Command, done
from tests.server.served import client, node_table, open_trace

PROMPT = "the [MASK] sat on the mat."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small run of the masked preset."""
    folder = tmp_path_factory.mktemp("encoder") / "run"
    choices = Choices(
        preset="masked",
        model={"d_model": 16, "n_heads": 2},
        recipe={"steps": 2, "batch_size": 4, "warmup_steps": 1, "save_every": 1},
        device="cpu",
    )
    with (prepared := new_run(folder, choices)).run as run:
        train(prepared.model, prepared.data, prepared.recipe, run=run)
    return folder


def test_ask_says_what_may_stand_in_every_blank(glassformer: Command, folder):
    answer = done(glassformer, "ask", folder, "the [MASK] sat on the [MASK]")
    assert "Blank 1 of 2 (token 2):" in answer
    assert "Blank 2 of 2 (token 6):" in answer
    assert "%" in answer
    printed = json.loads(done(glassformer, "ask", folder, PROMPT, "--json"))
    [blank] = printed["blanks"]
    assert blank["pos"] == 2
    assert blank["best"][0]["probability"] >= blank["best"][1]["probability"]


def test_its_training_shows_what_it_says_of_a_blank(folder):
    model, tokenizer = gf.load(folder)
    assert tokenizer is not None
    text, _, guesses = sample(model, tokenizer, 0, {"kind": "storyland"}).partition(" -> ")
    assert text.endswith(" [MASK]")
    shares = [int(guess.rpartition(" ")[2].removesuffix("%")) for guess in guesses.split(", ")]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)


def test_a_blank_is_one_token_of_a_text(glassformer: Command, folder):
    printed = json.loads(done(glassformer, "tokenize", folder, "the [MASK] sat", "--json"))
    shown = [token["token"] for token in printed["tokens"]]
    assert shown == ["[CLS]", "the", "[MASK]", "sat", "[SEP]"]
    assert printed["unknown_words"] == []
    assert "not in the vocabulary" not in done(glassformer, "tokenize", folder, "the [MASK] sat")


def test_numbers_are_shown_and_explained_and_a_step_is_told(glassformer: Command, folder):
    assert "Predicted token in the blank" in done(glassformer, "trace", folder, PROMPT, "--short")
    assert "In the blank (token 2), the most probable tokens" in done(
        glassformer, "trace", folder, PROMPT
    )
    hidden = ("--target", "cat")
    for address, more in (
        ("blocks.0.attn.pattern[head=1,query=2,key=5]", ()),  # a later token
        ("masked_head.ln.normalized[pos=2,d_model=3]", ()),
        ("bwd/blocks.1.attn.W_Q[head=1,d_model=2,d_head=3]", hidden),
        ("opt/masked_head.W_in[d_model=1,d_mlp=2]", hidden),
        ("opt/embed.W_E[vocab=9,d_model=3]", hidden),
    ):
        data = json.loads(done(glassformer, "explain", folder, PROMPT, address, *more, "--json"))
        assert data["agrees"], address
    assert "[MASK]" in done(glassformer, "step", folder, PROMPT, *hidden)


def test_a_biography_shows_blanks_and_names_a_step_that_can_be_made(glassformer: Command, folder):
    printed = done(glassformer, "biography", folder, "blocks.0.attn.W_Q[head=0,d_model=3,d_head=2]")
    assert "[MASK]" in printed.partition("Its batch")[2].partition("How would")[0]
    command = shlex.split(printed.partition("the same state:")[2].replace("\\\n", ""))
    assert command[:2] == ["glassformer", "step"]
    assert "The loss: " in done(glassformer, *command[1:])


def test_the_lab_looks_at_the_blank(glassformer: Command, folder):
    for change in (["--head", "1.1"], ["--neuron", "1.1"], ["--layer", "1"]):
        printed = done(glassformer, "lab", "ablate", folder, PROMPT, *change)
        assert "The token at 2 [MASK]" in printed
    value = "blocks.0.resid_post[pos=2]"
    assert "values changed" in done(glassformer, "lab", "edit", folder, PROMPT, f"{value}=0")
    other = "the [MASK] ran on the mat."
    assert "values changed" in done(
        glassformer, "lab", "patch", folder, PROMPT, "--from", other, value
    )
    assert "layer 1" in done(glassformer, "lab", "lens", folder, PROMPT)
    shares = json.loads(done(glassformer, "lab", "attribution", folder, PROMPT, "--json"))
    assert shares["pos"] == 2
    size = 1 + sum(abs(share["logits"]) for share in shares["shares"])
    assert abs(shares["total"] - shares["logit"]) < 1e-5 * size  # float32's digits
    assert "cosine" in done(glassformer, "lab", "neighbors", folder, "cat")


def test_it_is_drawn_counted_exported_and_served(glassformer: Command, folder, tmp_path):
    done(glassformer, "plot", folder, PROMPT, "--out", tmp_path / "pictures")
    assert len([*(tmp_path / "pictures").iterdir()]) >= 3
    assert "masked head" in done(glassformer, "params", folder)
    assert "bert" in done(glassformer, "export", folder, tmp_path / "exported")
    server = client(str(folder))
    about = open_trace(server, run="run", prompt=PROMPT)
    names = {node["address"] for node in node_table(server, about)["nodes"]}
    assert {"fwd/logits", "fwd/masked_head.post", "fwd/probs"} <= names
    answer = server.post("/v1/completions", json={"model": "run", "prompt": PROMPT})
    assert answer.status_code == 400
    assert "which fills blanks and continues no text" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("ask", "{}", "the cat sat"), "the text has no blank"),
        (("ask", "{}", PROMPT, "--temperature", "0.5"), "leave --temperature out"),
        (("step", "{}", PROMPT), "name it: --target WORD"),
        (("lab", "in-context", "{}"), "give a model that goes on with a text"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(glassformer: Command, folder, command, said):
    ended = glassformer(*(str(word).format(folder) for word in command))
    assert ended.code == 2
    assert said in ended.stderr
    assert ended.stderr.strip().count("\n") == 0
