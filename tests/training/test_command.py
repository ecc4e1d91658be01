"""`glassformer train` and `eval`, as a person types them."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import parquet

from glassformer.interop.folder import load_folder
from glassformer.text.shard import Shard
from glassformer.training.checkpoint import load_checkpoint, steps_saved
from glassformer.training.run import read_description, read_metrics
from tests.training.small import weights_equal

TEXT = "the cat sat on the mat and the dog sat on the log. " * 40
TINY = [
    *("--tokenizer", "chars", "--n-ctx", "8", "--d-model", "8", "--n-layers", "1"),
    *("--n-heads", "1", "--batch-size", "2", "--steps", "6", "--eval-every", "3"),
]


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize("recipe", ["fast", "classic"])
def test_a_recipe_brings_its_model_and_takes_other_sizes(glassformer, text, tmp_path, recipe):
    run = tmp_path / recipe
    sizes = [*TINY[2:4], "--d-model", "16", "--n-layers", "1", "--n-heads", "2", *TINY[10:]]
    options = [] if recipe == "classic" else ["--dtype", "fp32", "--no-compile"]
    code, shown, said = glassformer(
        "train", text, "--out", run, "--recipe", recipe, *sizes, *options
    )
    assert (code, said) == (0, "")
    assert "done after step 6" in shown
    described = read_description(run)
    assert described.recipe.optimizer == {"fast": "muon", "classic": "adamw"}[recipe]
    assert described.model.tied == (recipe == "classic")
    # the feed-forward layer stays three and four times as wide as the stream
    assert described.model.d_mlp == {"fast": 48, "classic": 64}[recipe]
    assert not described.model.attn_bias
    assert not described.model.mlp_bias


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["--recipe", "quick"], "'quick' is none of fast, classic"),
        (["--recipe", "fast", "--preset", "text"], "brings its own model, and --preset another"),
        (["--recipe", "fast", "--from", "runs/x"], "brings its own model, and --from another"),
        (["--recipe", "fast", "--resume"], "a resumed run goes on exactly as it was started"),
    ],
)
def test_a_recipe_that_contradicts_something_is_refused(
    glassformer, text, tmp_path, options, answer
):
    texts = [] if "--resume" in options else [text]
    code, _, said = glassformer("train", *texts, "--out", tmp_path / "run", *options)
    assert code == 2
    assert answer in said


def test_a_recipe_for_characters_asks_for_a_text(glassformer, tmp_path):
    code, _, said = glassformer("train", "--out", tmp_path / "run", "--recipe", "fast")
    assert code == 2
    assert "too few for a Storyland document; give a text file" in said


def test_training_says_what_to_expect_shows_the_loss_and_leaves_a_model(
    glassformer, text, tmp_path
):
    run = tmp_path / "run"
    how = ["--sample-every", "6", "--save-every", "4", "--optimizer", "muon"]
    code, shown, said = glassformer("train", text, "--out", run, *TINY, *how)
    assert (code, said) == (0, "")
    assert steps_saved(run / "checkpoints") == [4, 6]
    assert read_description(run).recipe.optimizer == "muon"
    for words in ("parameters", "training tokens", "KB of weights", "ms for 16 tokens"):
        assert words in shown
    assert "knowing nothing" in shown
    assert "step      6  it writes:" in shown
    assert "done after step 6; held-out loss" in shown
    command = shlex.split(next(line for line in shown.splitlines() if "glassformer ask" in line))
    assert command[:3] == ["glassformer", "ask", str(run)]
    assert TEXT.startswith(command[3])  # of the run's own text
    # what to type next comes last
    lines = shown.rstrip().splitlines()
    assert lines[-3:-1] == [f"the model is in {run}; ask it:", f"  {shlex.join(command)}"]
    assert shlex.split(lines[-1])[:3] == ["glassformer", "export", str(run)]
    model, tokenizer = load_folder(run)
    assert tokenizer is not None
    assert tokenizer.decode(tokenizer.encode("the dog")) == "the dog"
    assert model.config.vocab_size == tokenizer.vocab_size
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row][-1] == 6


def test_a_run_that_was_stopped_is_resumed_to_the_same_end(
    glassformer, text, tmp_path, monkeypatch
):
    glassformer("train", text, "--out", tmp_path / "straight", *TINY)

    stops = iter([False, False, True])  # asked before every step
    monkeypatch.setattr("glassformer.cli.stopping.Stop.requested", lambda _: next(stops))
    _, shown, _ = glassformer("train", text, "--out", tmp_path / "halves", *TINY)
    assert "saved after step 2 of 6" in shown
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", [])

    Path(text).unlink()  # resuming reads the tokens in the run's own folder
    code, shown, _ = glassformer("train", "--out", tmp_path / "halves", "--resume")
    assert code == 0
    assert f"going on with {tmp_path / 'halves'} after step 2 of 6" in shown
    straight, halves = (load_folder(tmp_path / name)[0] for name in ("straight", "halves"))
    assert weights_equal(straight, halves)

    shutil.rmtree(tmp_path / "halves/checkpoints")
    code, _, said = glassformer("train", "--out", tmp_path / "halves", "--resume")
    assert (code, "made 6 steps and has no checkpoint of them" in said) == (2, True)


@pytest.mark.parametrize("moment", ["make_plan", "train", "Loop.save"])
def test_a_run_killed_before_its_first_checkpoint_is_resumed_to_the_same_end(
    glassformer, text, tmp_path, monkeypatch, moment
):
    options = [*TINY, "--dropout", "0.2", "--patience", "5"]
    glassformer("train", text, "--out", tmp_path / "straight", *options)

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    module = "training.loop" if "." in moment else "cli.training"
    monkeypatch.setattr(f"glassformer.{module}.{moment}", killed)
    with pytest.raises(Killed):
        glassformer("train", text, "--out", tmp_path / "killed", *options)
    monkeypatch.undo()
    assert steps_saved(tmp_path / "killed/checkpoints") == []

    torch.manual_seed(99)  # the state of torch's generator must not matter
    code, _, said = glassformer("train", "--out", tmp_path / "killed", "--resume")
    assert (code, said) == (0, "")
    straight, resumed = (load_folder(tmp_path / name)[0] for name in ("straight", "killed"))
    assert weights_equal(straight, resumed)
    losses = [
        [
            (row["step"], row.get("loss"), row.get("val_loss"), row.get("unigram_loss"))
            for row in rows
        ]
        for rows in (read_metrics(tmp_path / n / "metrics.jsonl") for n in ("straight", "killed"))
    ]
    assert losses[0] == losses[1]


def test_a_start_that_was_killed_before_there_was_a_run_is_started_again(
    glassformer, text, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    monkeypatch.setattr("glassformer.training.run.write_atomically", killed)  # of run.json
    with pytest.raises(Killed):
        glassformer("train", text, "--out", tmp_path / "run", *TINY)
    monkeypatch.undo()
    assert (tmp_path / "run/model.safetensors").is_file()
    code, shown, said = glassformer("train", text, "--out", tmp_path / "run", *TINY)
    assert (code, said) == (0, "")
    assert "done after step 6" in shown


def test_resuming_takes_no_other_settings(glassformer, tmp_path):
    code, _, said = glassformer("train", "--out", tmp_path, "--resume", "--lr", "0.1")
    assert code == 2
    assert "goes on exactly as it was started" in said


def test_a_model_is_trained_further_with_its_own_tokenizer(glassformer, text, tmp_path):
    glassformer("train", text, "--out", tmp_path / "first", *TINY)
    more = tmp_path / "more.txt"
    more.write_text("on the log sat the mat. " * 60)
    code, _, said = glassformer(
        *("train", more, "--out", tmp_path / "second", "--from", tmp_path / "first"),
        *("--steps", "3", "--batch-size", "2"),
    )
    assert (code, said) == (0, "")
    first, second = (load_folder(tmp_path / name) for name in ("first", "second"))
    assert first[1] is not None
    assert second[1] is not None
    assert first[1].fingerprint == second[1].fingerprint
    start = load_checkpoint(tmp_path / "second/snapshots/step-000000").tensors["model"]
    assert torch.equal(start["embed.W_E"], first[0].embed.W_E)
    assert not weights_equal(first[0], second[0])


def test_a_model_that_is_trained_further_keeps_its_sizes(glassformer, text, tmp_path):
    code, _, said = glassformer(
        "train", text, "--out", tmp_path / "run", "--from", "gpt2", "--d-model", "8"
    )
    assert code == 2
    assert "keeps its sizes, its activation function and its tokenizer" in said


def test_the_run_records_what_it_was_made_from(glassformer, text, tmp_path):
    glassformer("train", text, "--out", tmp_path / "run", *TINY, "--seed", "7")
    described = read_description(tmp_path / "run")
    assert described.recipe.seed == 7
    assert described.model.d_model == 8
    assert described.corpus == {"kind": "text", "texts": [text], "n_ctx": 8}


def test_the_seed_decides_everything(glassformer, text, tmp_path):
    models = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        glassformer("train", text, "--out", tmp_path / name, *TINY, "--seed", seed)
        models.append(load_folder(tmp_path / name)[0])
    assert weights_equal(models[0], models[1])
    assert not weights_equal(models[0], models[2])


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, [], "there is no file or folder"),
        (b"", [], "is empty (0 bytes)"),
        (b"\x7fELF\0\0", [], "binary"),
        (b"caf\xe9", [], "is not UTF-8"),
        (TEXT.encode(), ["--n-ctx", "4000"], "give more text or"),
        (TEXT.encode(), ["--preset", "shakespear"], "no preset is named"),
        (TEXT.encode(), ["--tokenizer", "byte"], "is neither a folder nor one of chars"),
        (TEXT.encode(), ["--vocab-size", "0"], "leaves no room for a character"),
        (TEXT.encode(), ["--seed", str(2**64)], "give one below 2^64"),
        (TEXT.encode(), ["--lr", "0"], "leave every weight as it is"),
        (TEXT.encode(), ["--d-model", "10", "--n-heads", "4"], "does not split into"),
        (TEXT.encode(), ["--device", "tpu"], "is none of auto"),
        (TEXT.encode(), ["--template", "{q}"], "has no rows; leave it out"),
        (TEXT.encode(), ["--only", "embed", "--optimizer", "muon"], "choose --optimizer adamw"),
        (TEXT.encode(), ["--deadline", "inf"], "give at most 86400 seconds"),
    ],
)
def test_bad_input_is_one_line_and_no_run_is_left_half_made(
    glassformer, tmp_path, content, options, said
):
    path = tmp_path / "some.txt"
    if content is not None:
        path.write_bytes(content)
    run = tmp_path / "run"
    tiny = [pair for pair in zip(TINY[::2], TINY[1::2], strict=True) if pair[0] not in options]
    code, shown, complaint = glassformer("train", path, "--out", run, *sum(tiny, ()), *options)
    assert code == 2, shown
    assert said in complaint
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1
    assert steps_saved(run / "checkpoints") == []
    assert not (run / "run.json").exists()
    path.write_text(TEXT)
    assert glassformer("train", path, "--out", run, *TINY)[0] == 0  # the folder is free


@pytest.mark.parametrize("seed", ["20260131123045", str(2**64 - 1)])
def test_a_date_and_the_largest_number_are_seeds(glassformer, text, tmp_path, seed):
    options = ["--dropout", "0.1", "--seed", seed]
    code, _, said = glassformer("train", text, "--out", tmp_path / "run", *TINY, *options)
    assert (code, said) == (0, "")


def test_every_file_of_a_run_may_be_read_by_whom_the_umask_lets(glassformer, text, tmp_path):
    run = tmp_path / "run"
    before = os.umask(0o027)
    try:
        glassformer("train", text, "--out", run, *TINY)
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in run.rglob("*") if path.is_file()}
    assert len(modes) > 9
    assert {path: mode for path, mode in modes.items() if mode != 0o640} == {}


def test_a_folder_named_as_a_kind_or_a_preset_is_in_nobodys_way(
    glassformer, text, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("chars", "text", "worked_example"):
        (tmp_path / name).mkdir()
    code, _, said = glassformer("train", text, "--out", "run", *TINY)
    assert code == 0, said
    assert read_description(Path("run")).model.vocab_size > 257  # all bytes, and the text's letters
    code, _, said = glassformer("eval", "worked_example", text)
    assert (code, "is not one of this tokenizer's" in said) == (2, True)


def test_the_commands_to_type_next_can_be_pasted(glassformer, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("my run", "it's", "-run", "a\x1b[2J"):
        _, shown, _ = glassformer("train", text, f"--out={folder}", *TINY)
        typed = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {shown.splitlines()[-1]}"], capture_output=True
        ).stdout.decode()
        words = [word for word in typed.split("\0") if word not in ("--", "")]
        assert words[:3] == ["glassformer", "export", folder]
        assert "\x1b" not in shown


def test_a_text_of_one_token_can_not_be_measured(glassformer, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("cat")
    code, _, said = glassformer("eval", "worked_example", path)
    assert code == 2
    assert "there is nothing to measure: the text is one token" in said


def test_separators_in_a_text_are_said_to_be_letters_or_are_obeyed(glassformer, tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text("A cat sat.\n<|endoftext|>\nThe dog ran home.\n<|endoftext|>\n" * 20)
    _, shown, _ = glassformer("train", path, "--out", tmp_path / "letters", *TINY)
    assert "note: <|endoftext|> stands 40 times in the text and is read as letters" in shown
    assert Shard(tmp_path / "letters" / "data").header.n_documents == 1
    separator = ["--separator", "<|endoftext|>"]
    _, shown, _ = glassformer("train", path, "--out", tmp_path / "run", *TINY, *separator)
    assert "endoftext" not in shown
    assert Shard(tmp_path / "run" / "data").header.n_documents == 40
    _, _, said = glassformer("eval", tmp_path / "run", path)
    assert "note: <|endoftext|> stands 40 times" in said
    assert glassformer("eval", tmp_path / "run", path, *separator)[2] == ""


def test_a_model_or_step_larger_than_the_machine_is_refused_before_it_is_made(
    glassformer, tmp_path
):
    known = tmp_path / "known.txt"
    known.write_text("the cat sat on the mat " * 40)
    for options in (
        ["--preset", "gpt3"],
        ["--d-model", "1000000", "--n-heads", "1"],
        ["--n-layers", "1000000000"],
        ["--n-ctx", "1000000000000"],
        ["--batch-size", "1000000000000"],
        ["--accumulate", "1000000000"],
        ["--from", "worked_example", "--batch-size", "1000000000"],
    ):
        code, _, said = glassformer("train", known, "--out", tmp_path / "run", *options)
        assert (code, said.count("\n")) == (2, 1), said
        assert "GB, more than 80% of this machine" in said or "the most there can be" in said


def test_a_bad_row_is_answered_with_file_and_line(glassformer, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": TEXT}) + "\n{oops\n")
    code, _, said = glassformer("train", path, "--out", tmp_path / "run", *TINY)
    assert code == 2
    assert f"{path}:2 is not JSON" in said


def test_eval_measures_a_text_and_prints_json_for_programs(glassformer, text, tmp_path):
    glassformer("train", text, "--out", tmp_path / "run", *TINY)
    code, shown, _ = glassformer("eval", tmp_path / "run", text, "--json")
    assert code == 0
    row = json.loads(shown)
    assert row["bytes"] == len(TEXT)
    assert row["tokens"] == len(TEXT) + 1  # each character, and the end
    assert row["bits_per_byte"] == pytest.approx(
        row["loss"] / 0.6931471805599453 * row["tokens"] / row["bytes"]
    )
    code, _, said = glassformer("eval", tmp_path / "run")
    assert code == 2
    assert "give one thing to measure on: a text, --storyland, --chat, --translation" in said


def test_rows_of_a_table_train_and_are_measured_by_a_template(glassformer, tmp_path):
    path = tmp_path / "rows.parquet"
    rows = {"question": [f"{n} and {n}?" for n in range(200)], "answer": [*range(0, 400, 2)]}
    parquet.write_table(pyarrow.table(rows), path)
    template = ["--template", r"{question}\n{answer}"]
    code, shown, said = glassformer("train", path, "--out", tmp_path / "run", *TINY, *template)
    assert (code, said) == (0, ""), shown
    shard = Shard(tmp_path / "run" / "data")
    assert shard.header.n_documents == 200
    tokenizer = load_folder(tmp_path / "run")[1]
    assert tokenizer is not None
    assert tokenizer.decode(shard.tokens[:11].tolist()) == "0 and 0?\n0"
    code, shown, _ = glassformer("eval", tmp_path / "run", path, *template, "--json")
    assert (code, json.loads(shown)["tokens"]) == (0, len(shard) - 1)
    code, _, said = glassformer("train", path, "--out", tmp_path / "other", *TINY)
    assert (code, "has no column 'text'; its columns are 'question', 'answer'" in said) == (2, True)
