"""trace, explain and plot on the command line: their files, their text and their errors."""

from pathlib import Path

import pytest

import glassformer as gf
from tests.command_line import Command

TEXT = "the cat sat on"


def test_trace_tells_the_story_and_saves_the_trace(glassformer: Command, tmp_path: Path):
    ended = glassformer("trace", "worked_example", TEXT, "--save", tmp_path / "t")
    assert ended.code == 0
    assert "The prediction: cat" in ended.stdout
    assert "\x1b" not in ended.stdout
    story = ended.stdout[: ended.stdout.index("The trace is in")]
    assert max(map(len, story.splitlines())) <= 80
    assert gf.Trace.load(tmp_path / "t")["fwd/probs"].shape == (4, 6)


def test_the_example_that_trace_ends_in_can_be_run(glassformer: Command):
    shown = glassformer("trace", "worked_example", TEXT).stdout
    command = shown[shown.index("  glassformer explain") :].replace("\\\n", " ")
    address = command.split("'")[-2]
    ended = glassformer("explain", "worked_example", TEXT, address)
    assert ended.stdout.startswith(address)
    assert "agrees" in ended.stdout


def test_trace_is_short_where_it_is_asked_to_be(glassformer: Command):
    short = glassformer("trace", "worked_example", TEXT, "--short").stdout
    assert len(short.splitlines()) <= 60
    assert "Predicted next token: cat" in short
    ended = glassformer("trace", "worked_example", TEXT, "--short", "--all")
    assert ended.code == 2
    assert "leave it out with --layer, --only or --all" in ended.stderr


def test_layer_only_and_all_are_passed_on(glassformer: Command):
    one = glassformer("trace", "worked_example", TEXT, "--layer", "0", "--only", "*.pattern").stdout
    assert one.count("[batch") >= 1
    assert "blocks.0.attn.pattern  [" in one
    assert "embed  [" not in one
    two = glassformer("trace", "worked_example", TEXT, "--only", "*.pattern", "--only", "probs")
    assert "blocks.0.attn.pattern  [" in two.stdout
    assert "probs  [batch" in two.stdout
    everything = glassformer("trace", "worked_example", TEXT, "--all").stdout
    assert "left out" not in everything
    assert "blocks.0.attn.pattern_exp  [" in everything


def test_explain_follows_operands(glassformer: Command):
    ended = glassformer(
        "explain", "worked_example", TEXT, "fwd/resid_start[pos=3,d_model=1]", "--follow", "2"
    )
    assert "token/ids[pos=3]" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "worked_example", TEXT, "blocks.0.attn.patern"), "Did you mean"),
        (("explain", "worked_example", TEXT, "blocks.0.attn.pattern[head=0]"), "also give query"),
        (("explain", "worked_example", TEXT, "logits[pos=9,vocab=0]"), "pos goes from 0 to 3"),
        (("explain", "worked_example", TEXT, "logits[["), "is not an address"),
        (("trace", "worked_example", ""), "no token"),
        (("trace", "worked_example", f"{TEXT} the cat"), "at most n_ctx=4"),
        (("trace", "worked_example", "the zebra"), "'zebra' is not one of"),
        (("trace", "worked_exampel", TEXT), "Did you mean 'worked_example'?"),
        (("trace", "worked_example", TEXT, "--layer", "3"), "there is no layer 3"),
        (("trace", "worked_example", TEXT, "--only", "nothing"), "no value is named"),
        (("plot", "worked_example", TEXT, "--format", "gif"), "gif"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    glassformer: Command, arguments: tuple[str, ...], message: str
):
    ended = glassformer(*arguments)
    assert ended.code == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr


def test_plot_writes_the_pictures_and_says_which(glassformer: Command, tmp_path: Path):
    ended = glassformer("plot", "worked_example", TEXT, "--out", tmp_path, "--format", "svg")
    assert ended.code == 0
    files = [Path(line) for line in ended.stdout.splitlines() if line.endswith(".svg")]
    assert [file.stem for file in files] == [
        "next-token",
        "attention",
        "attention-layer-0",
        "embeddings",
    ]
    assert all(file.stat().st_size > 1000 for file in files)
    assert "no loss curve" in ended.stdout


def test_plot_draws_a_runs_loss(glassformer: Command, tmp_path: Path):
    run = tmp_path / "run"
    gf.save(*gf.load("worked_example"), run)
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n')
    ended = glassformer("plot", run, TEXT, "--out", tmp_path)
    assert str(tmp_path / "loss.png") in ended.stdout
