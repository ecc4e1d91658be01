"""The commands on a model with an encoder and a decoder: the text is the source."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

import glassformer as gf
from glassformer.cli import eval_prompts
from glassformer.interop.folder import save
from glassformer.model import EncoderDecoder, load_preset
from glassformer.server.export import page_data
from glassformer.server.runs import Runs
from glassformer.text.translation import prompts
from glassformer.training import storyland
from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.prepare import new_run
from glassformer.training.translation import towers_of, translated, translation_tokenizer
from tests.command_line import Command

SENTENCE = "the black cat sleeps"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of random weights that knows the corpus's words."""
    tokenizer = translation_tokenizer("french")
    sizes = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_ctx": 16}
    config = towers_of(load_preset("translation")["model"], sizes, tokenizer)
    model = EncoderDecoder(config, torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("towers") / "model"
    save(model, tokenizer, path)
    return str(path)


@pytest.mark.parametrize(
    "address",
    [
        "encoder.blocks.0.attn.pattern[head=1,source_query=0,source_key=2]",
        "decoder.blocks.0.cross_attn.attn_scores[head=1,query=0,source_key=1]",
        "bwd/encoder.embed.W_E[vocab=4,d_model=3]",
        "opt/encoder.blocks.0.attn.W_Q[head=0,d_model=1,d_head=2]",
    ],
)
def test_explain_finds_numbers_of_both_towers_and_recomputes_them(
    glassformer: Command, folder: str, address: str
):
    ended = glassformer("explain", folder, SENTENCE, address)
    assert (ended.code, ended.stderr) == (0, "")
    assert "agrees" in ended.stdout


def test_trace_and_plot_show_the_words_of_the_source(
    glassformer: Command, folder: str, tmp_path: Path
):
    printed = glassformer("trace", folder, SENTENCE).stdout
    assert "decoder.blocks.0.cross_attn.pattern" in printed
    assert "1 black" in printed
    glassformer("plot", folder, SENTENCE, "--out", str(tmp_path))
    assert {"alignment.png", "cross-attention-layer-0.png"} <= {f.name for f in tmp_path.iterdir()}


def test_eval_counts_exact_translations_beside_the_floor(glassformer: Command, folder: str):
    printed = glassformer("eval", folder, "--translation", "french").stdout
    rows = dict(line.rsplit(maxsplit=1) for line in printed.splitlines())
    assert float(rows["loss"]) > 4 > float(rows["floor"]) > 0
    assert float(rows["exact"]) <= float(rows["right"]) < 0.1


def test_right_translations_are_counted_by_the_examples_in_the_prompt(
    glassformer: Command, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(eval_prompts, "FRESH", 30)
    monkeypatch.setattr(storyland, "HELD_OUT", 60)
    choices = Choices(
        preset="translation-in-context",
        model={"d_model": 16, "n_heads": 2},
        recipe={"steps": 2, "batch_size": 2, "warmup_steps": 1, "snapshot_mb": 0},
    )
    with (prepared := new_run(tmp_path / "run", choices)).run as run:
        train(prepared.model, prepared.data, prepared.recipe, run=run)
    answer = json.loads(glassformer("eval", tmp_path / "run", "--in-context", "--json").stdout)
    asked = sum(len(p.examples) for p in islice(prompts.prompts("fresh"), 30))
    assert sum(row["asked"] for row in answer["answers"]) == asked
    assert answer["loss"] > answer["floor"] > 0
    foreign = [row["at_best"] for row in answer["answers"] if row["kind"] == "foreign"]
    assert foreign == [0.5] + [1.0] * (len(foreign) - 1)
    towers = json.loads(glassformer("eval", folder, "--in-context", "--json").stdout)["answers"]
    assert sum(row["asked"] for row in towers) == asked
    printed = glassformer("eval", folder, "--in-context").stdout
    assert "none read" in printed
    assert "Two towers read a sentence alone." in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("step", SENTENCE, "--reply", "le chat", "--rejected", "le"), "compares two replies"),
        (("step", SENTENCE, "--reply", "le chat " * 20), "and the model writes at most 16"),
        (("explain", SENTENCE, "choose/token"), "the whole translation is read at once"),
        (("trace", "the cat " * 20), "and the model reads at most 16"),
    ],
)
def test_what_is_not_for_two_towers_is_refused_in_one_line(
    glassformer: Command, folder: str, arguments: tuple[str, ...], said: str
):
    command, *rest = arguments
    ended = glassformer(command, folder, *rest)
    assert ended.code == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_page_runs_both_towers_by_itself(folder: str):
    data = page_data(Runs([folder]), SENTENCE)
    [model] = data.models.values()
    reads = model.reads
    assert reads is not None
    assert (reads.start, reads.end, reads.after, reads.mask) == (1, 2, [2], None)


def test_a_page_without_the_model_holds_both_towers_with_their_gradients(
    folder: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("glassformer.server.runnable.MODEL_BYTES", 0)
    data = page_data(Runs([folder]), SENTENCE)
    assert not data.models
    [trace] = data.traces
    assert trace.about.tokens[0] == "<s>"
    assert trace.about.backward
    assert trace.about.optimizer


def test_a_head_of_cross_attention_switched_off_says_what_becomes_of_every_word(
    glassformer: Command, folder: str
):
    asked = ("lab", "ablate", folder, SENTENCE, "--cross", "0.1")
    answer = json.loads(glassformer(*asked, "--json").stdout)
    assert answer["source"] == [*SENTENCE.split(), "</s>"]
    model, tokenizer = gf.load(folder)
    assert isinstance(model, gf.EncoderDecoder)
    assert tokenizer is not None
    ids, targets, source = translated(model, tokenizer, SENTENCE)
    at = "decoder.blocks.0.cross_attn"
    off = model.watch(ids, source=source, edit={f"{at}.z[head=1]": 0.0})["probs"]
    on = model.watch(ids, source=source)
    asked_tokens = targets[0].tolist()
    for pos, word in enumerate(answer["written"]):
        token = asked_tokens[pos]
        assert word["token"] == tokenizer.shown(token)
        assert word["before"] == pytest.approx(on["probs"][pos, token].item())
        assert word["after"] == pytest.approx(off[pos, token].item())
        assert word["weight"] == pytest.approx(on[f"{at}.pattern"][1, pos].max().item())
    printed = glassformer(*asked).stdout
    assert "Switched off: layer 0 head 1 of cross-attention" in printed
    assert "looks at" in printed
    for words, message in (
        (("miniature", "the cat", "--cross", "0.1"), "for a model with two towers"),
        ((folder, SENTENCE, "--cross", "7.0"), "layer 7 is not there"),
    ):
        ended = glassformer("lab", "ablate", *words)
        assert ended.code == 2
        assert message in ended.stderr
