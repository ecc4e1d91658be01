"""step, biography and --at-step on the command line: their numbers are those of the trace."""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import glassformer as gf
from glassformer.formula.spelling import compared, number
from glassformer.training.replay import state_at
from glassformer.training.train_state import open_train_state
from tests.calculator import gives
from tests.command_line import Command
from tests.training.replayed import train_run

TEXT = "the cat sat on a"
MINIATURE = ("miniature", TEXT, "--target", "mat")


@pytest.fixture
def columns() -> int:
    return 100


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("step") / "run"
    train_run(folder, dropout=0.0, save_every=5)
    return folder


def test_the_story_shows_the_numbers_of_the_watched_step(glassformer: Command):
    shown = glassformer("step", *MINIATURE)
    assert shown.code == 0, shown.stderr
    said = " ".join(shown.stdout.split())
    assert "In AdamW's first step nearly every weight moves by the learning rate" in said
    state = open_train_state("miniature")
    ids, targets = state.make_targets(TEXT, "mat")
    watched, trained = state.train_step(ids, targets)
    before = watched.trace["fwd/loss"].item()
    after = trained.model.watch(ids, targets)["fwd/loss"].item()
    was, now, change = compared([before], [after])[0]
    assert f"The loss: {was} before, {now} after ({change})" in shown.stdout
    p, surprise = re.findall(r"4 a +mat +(\S+) +(\S+) ", shown.stdout)[0]
    assert gives(f"-log({p})", surprise)
    assert f"{number(before)} nats" in shown.stdout
    row = re.findall(r"4 a +mat +(\S+) +(\S+) +(\S+) +█", shown.stdout)[0]
    assert gives(f"{row[0]} + {row[2]}", row[1])
    assert f"{number(watched.trace['opt/grad_norm'].item())} (opt/grad_norm)" in shown.stdout
    result = re.findall(r"(-?[\d.e-]+)  (opt/\S+\.change\S*)", shown.stdout)
    assert len(result) == 3
    for value, address in result:
        assert number(watched.trace[address].item()) == value
        name = address.partition("[")[0]
        assert watched.trace[address].abs() == watched.trace[name].abs().max()


def test_every_gradient_and_change_of_the_miniature_is_in_its_grids(glassformer: Command):
    shown = glassformer("step", *MINIATURE).stdout
    grids = shown[shown.index("embed.W_E") : shown.index("The biggest changes")]
    assert len(grids.splitlines()) <= 60
    assert max(map(len, shown.splitlines())) <= 100
    trace = (
        open_train_state("miniature")
        .train_step(*open_train_state("miniature").make_targets(TEXT, "mat"))[0]
        .trace
    )
    n_weights = sum(w.numel() for w in gf.load("miniature")[0].weights().values())
    rows = [line for line in grids.splitlines() if "│" in line]
    labels = sum(len(line) - len(line.lstrip()) > 2 for line in rows)
    assert labels > 0
    cells = 0
    for line in rows:
        if re.match(r"^ {3,}\d", line):  # column labels
            continue
        cells += len(re.findall(r"(?<=[ │])(?:-?\d+|\.)(?= |$)", line))
    # each weight twice, and the numbers in the rows' labels
    assert cells >= 2 * n_weights
    match = re.search(r"unembed\.W_U  x(\S+) *\n.*\n(.*)\n", grids)
    assert match is not None
    first = [int(cell) for cell in re.findall(r"-?\d+", match[2])[1:]]
    gradients = (trace["bwd/unembed.W_U[vocab=0]"] / float(match[1])).tolist()
    changes = (trace["opt/unembed.W_U.change[vocab=0]"] / 1e-4).tolist()
    bias = [trace["bwd/unembed.b_U[vocab=0]"].item() / float(match[1])]
    moved = [trace["opt/unembed.b_U.change[vocab=0]"].item() / 1e-4]
    assert [float(c) for c in first] == pytest.approx(
        [*gradients, *bias, *changes, *moved], abs=0.5001
    )


def test_it_is_right_at_80_columns_too(glassformer: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = glassformer("step", *MINIATURE).stdout
    assert max(map(len, shown.splitlines())) <= 80


def test_repeated_steps_take_the_probability_of_mat_from_an_eighth_towards_one(
    glassformer: Command, tmp_path: Path
):
    shown = glassformer("step", *MINIATURE, "--steps", "30", "--out", tmp_path)
    assert shown.code == 0, shown.stderr
    rows = re.findall(r"^ +(\d+) +([\d.]+) ", shown.stdout, re.MULTILINE)
    probs = {int(step): float(p) for step, p in rows}
    assert probs[0] == pytest.approx(1 / 8, abs=0.01)
    assert probs[30] > 0.9
    assert sorted(probs.values()) == list(probs.values())
    assert (tmp_path / "learning.png").stat().st_size > 5_000
    asked = ("ask", tmp_path, TEXT, "--temperature", "0.7", "--seed", "1", "--max-tokens", "1")
    assert glassformer(*asked).stdout == f"{TEXT} mat\n"  # the model is kept
    model, _ = gf.load(tmp_path)
    assert model.watch(TEXT)["fwd/probs"][-1].max() == pytest.approx(probs[30], rel=1e-3)


def test_a_runs_own_model_is_never_replaced_by_repeated_steps(
    glassformer: Command, run_folder: Path
):
    ended = glassformer("step", run_folder, "the cat", "--steps", "2", "--out", run_folder)
    assert ended.code == 2
    assert "holds a run, whose model would be replaced" in ended.stderr


def test_a_learning_rate_that_overshoots_is_told_in_words(glassformer: Command, tmp_path: Path):
    many = glassformer("step", *MINIATURE, "--steps", "5", "--lr", "10", "--out", tmp_path)
    assert many.code == 0, many.stderr
    said = " ".join(many.stdout.split())
    assert "Update 1 overshot: the loss rose from 2.080 to 188195.531. At learning rate 10" in said
    assert "diverged" not in said
    broken = glassformer("step", *MINIATURE, "--steps", "5", "--lr", "1e5", "--out", tmp_path)
    assert broken.code == 0, broken.stderr
    said = " ".join(broken.stdout.split())
    assert "After update 2 it is nan: it diverged" in said
    assert "no model is kept" in said
    assert re.findall(r"^ +(\d) ", broken.stdout, re.MULTILINE) == ["0", "1", "2"]
    one = glassformer("step", *MINIATURE, "--lr", "1e10")
    assert one.stdout.startswith("Update 1, at learning rate 1e+10\n")  # nothing was rounded
    assert "the loss rose from 2.080 to nan" in " ".join(one.stdout.split())
    usual = glassformer("step", *MINIATURE, "--steps", "5")
    assert "overshot" not in usual.stdout


@pytest.mark.parametrize(
    ("options", "form"),
    [
        (["--steps", "30"], r"(<?)\d+\.\d{3}"),
        (["--steps", "5", "--lr", "10"], r"(<?)\d+\.\d{3}"),
        (["--steps", "5", "--lr", "1e5"], r"(<?)\d\.\d{3}e[+-]\d\d"),
    ],
)
def test_repeated_steps_write_all_losses_in_one_form_that_follows_from_their_probability(
    glassformer: Command, options: list[str], form: str
):
    said = glassformer("step", *MINIATURE, *options).stdout
    rows = re.findall(r"^ +\d+  +(\S+)  +(\S+)(?:  █+)?$", said, re.MULTILINE)
    assert len(rows) >= 3
    for prob, loss in rows:
        if loss == "nan":
            assert prob == "nan"
            continue
        if loss == "0":  # as the trace has it, and said in words
            assert "too little for fp32 to tell from 0" in said
        else:
            assert re.fullmatch(form, loss), (loss, rows)
        less = loss.startswith("<")
        if prob == "<1e-300":
            assert float(loss) > -math.log(1e-300)
        else:
            assert gives(f"-log({prob})", "0.000" if less else loss), (prob, loss)


def test_a_model_whose_numbers_overflow_is_told_in_words_everywhere(
    glassformer: Command, tmp_path: Path
):
    model, tokenizer = gf.load("miniature")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e19)
    gf.save(model, tokenizer, tmp_path / "large")
    lesson = (tmp_path / "large", TEXT, "--target", "mat")
    for more in ((), ("--steps", "3")):
        ended = glassformer("step", *lesson, *more)
        assert (ended.code, ended.stderr.count("\n")) == (2, 1)
        assert "so there is no step to make" in ended.stderr
    ended = glassformer("plot", tmp_path / "large", TEXT, "--out", tmp_path)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "there is no prediction" in ended.stderr
    assert "there is no prediction" in glassformer("trace", tmp_path / "large", TEXT).stdout


def test_printed_commands_explain_what_was_printed(glassformer: Command):
    shown = glassformer("step", *MINIATURE).stdout
    address = re.findall(r"'(opt/[^']+)'", shown)[-1]
    printed = glassformer("explain", "miniature", TEXT, address, "--target", "mat")
    assert printed.stdout.startswith(address)
    assert "agrees" in printed.stdout


def test_explain_follows_an_update_back_to_the_gradient_and_its_finite_difference(
    glassformer: Command,
):
    printed = glassformer("explain", "miniature", TEXT, "opt/blocks.0.attn.W_O[d_head=1,d_model=2]")
    assert "opt/blocks.0.attn.W_O.m[d_head=1,d_model=2]" in printed.stdout
    for operand in re.findall(r"(?:opt|const|weight|bwd)/\S+\]", printed.stdout)[1:]:
        assert glassformer("explain", "miniature", TEXT, operand).code == 0, operand
    checked = glassformer(
        "explain", "miniature", TEXT, "bwd/embed.W_E[vocab=1,d_model=0]", "--check"
    )
    assert "finite difference" in checked.stdout
    assert glassformer("explain", "miniature", TEXT, "fwd/loss").code == 0


def test_a_run_goes_on_from_its_optimizers_state_at_its_learning_rate(
    glassformer: Command, run_folder: Path
):
    shown = glassformer("step", run_folder, "the cat sat on", "--from-step", "7")
    assert shown.code == 0, shown.stderr
    state = open_train_state(str(run_folder), 7)
    assert f"Update 8, at learning rate {number(state.next_lr)}" in shown.stdout
    assert "AdamW's first step" not in shown.stdout
    state = state_at(run_folder, 7)
    for name, value in state.moments.items():
        assert torch.equal(state.moments[name], value)
        assert value.abs().max() > 0


def test_at_step_and_an_address_at_a_step_are_the_same(glassformer: Command, run_folder: Path):
    address = "blocks.0.attn.pattern[head=1,query=2,key=1]"
    by_option = glassformer("explain", run_folder, "the cat sat", address, "--at-step", "3")
    by_address = glassformer("explain", run_folder, "the cat sat", f"@step=3 {address}")
    newest = glassformer("explain", run_folder, "the cat sat", address)
    assert by_option.code == by_address.code == 0
    assert by_option.stdout == by_address.stdout != newest.stdout
    trace = state_at(run_folder, 3).model.watch(
        torch.tensor([gf.Tokenizer.load(run_folder).encode("the cat sat")])
    )
    assert f"= {number(trace[address].item(), 6)}" in by_option.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("trace", "RUN", "the cat"),
        ("ask", "RUN", "the cat", "--max-tokens", "2", "--seed", "1", "--table"),
        ("lab", "lens", "RUN", "the cat"),
        ("lab", "neighbors", "RUN", "cat"),
    ],
)
def test_commands_about_a_run_take_a_step(
    glassformer: Command, run_folder: Path, arguments: tuple[str, ...]
):
    command = [str(run_folder) if a == "RUN" else a for a in arguments]
    early, late = glassformer(*command, "--at-step", "0"), glassformer(*command)
    assert early.code == late.code == 0, early.stderr + late.stderr
    assert early.stdout != late.stdout


def test_biography_tells_and_draws(glassformer: Command, run_folder: Path, tmp_path: Path):
    printed = glassformer(
        "biography", run_folder, "blocks.0.attn.pattern[head=0]", "--prompt", "the cat sat",
        "--out", tmp_path,
    )  # fmt: skip
    assert printed.code == 0, printed.stderr
    assert re.search(r"Update \d+ moved it most", printed.stdout)
    assert max(map(len, printed.stdout.splitlines()[:-2])) <= 100
    assert (tmp_path / "biography.png").stat().st_size > 5_000
    assert (tmp_path / "maps.png").stat().st_size > 5_000
    for (start, *_), (end, _, length, per_update) in pairwise(saved_steps(printed.stdout)):
        assert gives(f"{length} / ({end} - {start})", per_update)


def saved_steps(printed: str) -> list[list[str]]:
    table = printed.partition("At every saved step")[2].partition("\n──")[0]
    rows = [line.rstrip(" █").split() for line in table.splitlines()[2:] if line.strip()]
    assert len(rows) == 7
    return rows


@pytest.mark.parametrize("d_model", range(4))
def test_how_far_a_number_moved_per_update_follows_from_the_numbers_beside_it(
    glassformer: Command, run_folder: Path, d_model: int
):
    printed = glassformer("biography", run_folder, f"embed.W_E[vocab=1,d_model={d_model}]").stdout
    for (start, before, *_), (end, after, moved) in pairwise(saved_steps(printed)):
        assert gives(f"abs({after} - {before}) / ({end} - {start})", moved)
    path = printed.partition("replayed")[2].partition("\n──")[0]
    updates = [line.rstrip(" █").split() for line in path.splitlines()]
    changes = [row for row in updates if len(row) == 4 and row[0].isdigit()]
    assert changes
    for _, before, after, change in changes:
        assert gives(f"{before} + {change}", after)


@pytest.mark.parametrize(
    "arguments",
    [
        ("step", "RUN", "the cat sat"),
        ("step", "miniature", TEXT, "--steps", "5"),
        ("lab", "edit", "RUN", "the cat", "blocks.0.mlp.post[pos=1]=1.0"),
        ("lab", "ablate", "RUN", "the cat", "--head", "0.1"),
        ("lab", "neighbors", "RUN", "cat"),
        ("ask", "RUN", "the cat", "--table", "--max-tokens", "2"),
    ],
)
def test_tables_have_the_digits_that_they_need_and_never_say_nearly(
    glassformer: Command, run_folder: Path, arguments: tuple[str, ...]
):
    printed = glassformer(*(str(run_folder) if a == "RUN" else a for a in arguments))
    assert printed.code == 0, printed.stderr
    assert "≈" not in printed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("step", "miniature", TEXT, "--from-step", "3"), "no run.json"),
        (("step", "RUN", "the cat", "--from-step", "99"), "beyond the run"),
        (("step", "miniature", "cat"), "no next token"),
        (("step", "miniature", TEXT, "--lr", "0"), "lr=0"),
        (("step", "miniature", TEXT, "--lr", "1e38"), "no fp32 weight could follow"),
        (("step", "miniature", TEXT, "--target", "zebra"), "zebra"),
        (("explain", "miniature", TEXT, "opt/blocks.0.attn.W_Z"), "Did you mean"),
        (("explain", "RUN", "the cat", "@step=77 logits[pos=0,vocab=0]"), "beyond the run"),
        (("trace", "RUN", "the cat", "--at-step", "14"), "give 0 to 13"),
        (("biography", "RUN", "blocks.0.attn.W_Z"), "no weight"),
        (("biography", "nowhere", "embed.W_E"), "no run.json"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    glassformer: Command, run_folder: Path, arguments: tuple[str, ...], message: str
):
    ended = glassformer(*(str(run_folder) if a == "RUN" else a for a in arguments))
    assert ended.code == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr
