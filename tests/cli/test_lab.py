"""glassformer lab: tables of the traces' numbers that fit the terminal and can be gone on from."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len

import glassformer as gf
from glassformer.cli import lab
from glassformer.cli.lab import in_context
from glassformer.cli.watching import open_run
from glassformer.errors import GlassformerError
from glassformer.formula.spelling import number
from glassformer.lab.changes import changes, watch_text
from glassformer.lab.edits import without_head
from glassformer.model import Config
from glassformer.show.table import signed
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.recipe import Recipe
from glassformer.training.run import Description
from glassformer.training.train_state import token_of
from tests.calculator import calculate, gives, last_digit
from tests.command_line import Command
from tests.generation.models import speaking

MODEL, TEXT = "worked_example", "the cat sat on"
STORY = "Mia has a gray cat. Tom has a brown dog. zib means dog. dax means sun. zib means dog. "


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of two layers that has words of several tokens."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    tokenizer = Tokenizer.train("bpe", [STORY * 9], vocab_size=300)
    config = Config(vocab_size=300, n_ctx=32, d_model=16, n_layers=4, n_heads=3, d_head=4)
    gf.save(speaking(config).float(), tokenizer, folder)
    return folder


def section(text: str, title: str) -> list[list[str]]:
    """The words of each line under a title, up to the next empty line."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if title in line) + 1
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return [line.split() for line in lines[start:end]]


def passes(edit):
    model, tokenizer = open_run(MODEL)
    ids = torch.tensor([tokenizer.encode(TEXT)])
    return watch_text(model, ids), watch_text(model, ids, edit), tokenizer


def test_the_next_token_table_holds_the_numbers_of_both_passes(glassformer: Command):
    ended = glassformer("lab", "ablate", MODEL, TEXT, "--head", "0.0", "--target", "mat")
    before, after, tokenizer = passes(without_head(open_run(MODEL)[0].config, 0, 0))
    rows = {row[0]: row[1:] for row in section(ended.stdout, "The next token")[1:]}
    assert len(rows) == 6
    for token in range(6):
        p, q = before["probs"][-1, token].item(), after["probs"][-1, token].item()
        label, was, now, change = rows[tokenizer.token(token)][:4]
        assert (int(label), float(was), float(now)) == (
            token,
            pytest.approx(p, abs=last_digit(was) / 2),
            pytest.approx(q, abs=last_digit(now) / 2),
        )
        assert gives(f"{was} + {change}", now)
    loss = next(row for row in section(ended.stdout, "surprise in nats") if row[0] == "mean")
    was, now = before["loss"].item(), after["loss"].item()
    assert [float(x) for x in loss[-3:-1]] == pytest.approx([was, now], rel=1e-3)
    assert gives(f"{loss[-3]} + {loss[-1]}", loss[-2])
    target = next(row for row in section(ended.stdout, "surprise in nats") if row[0] == "mat")
    mat = tokenizer.id("mat")
    was, now = (-trace["probs"][-1, mat].double().log().item() for trace in (before, after))
    # the table's is from the logits in float64; fp32 probabilities have seven digits
    assert [float(x) for x in target[-3:-1]] == pytest.approx([was, now], rel=1e-3)


def test_the_travel_table_holds_the_changes_and_all_shows_every_one(glassformer: Command):
    before, after, _ = passes(without_head(open_run(MODEL)[0].config, 0, 0))
    result = changes(before, after)
    printed = glassformer("lab", "ablate", MODEL, TEXT, "--head", "0.0").stdout
    rows = [
        row for row in section(printed, "difference travels") if "[" in row[-1] or row[0] == "loss"
    ]
    by_name = {change.path.removeprefix("fwd/"): change for change in result}
    assert f"{len(result)} of {len(before.computed)} values changed" in printed
    for row in rows:
        name = f"blocks.{row[0]}.{row[1]}" if row[0].isdecimal() else row[0]
        assert number(by_name[name].relative, 3) in row
        assert signed(by_name[name].largest, 3) in row
    everything = glassformer("lab", "ablate", MODEL, TEXT, "--head", "0.0", "--all").stdout
    assert "left out" in printed
    assert "left out" not in everything
    assert len(section(everything, "difference travels")) >= len(result)


def pasted(shown: str) -> list[str]:
    """The words of the command at the end of an output, without the program's name."""
    command = shown[shown.rindex("  glassformer ") :].replace("\\\n", " ")
    return shlex.split(command.partition("  (")[0])[1:]


@pytest.mark.parametrize(
    "arguments",
    [
        ("ablate", MODEL, TEXT, "--neuron", "0.1", "--layer", "0"),
        ("edit", MODEL, TEXT, "blocks.0.attn.pattern[query=3,key=1]=0.9", "resid_start[pos=1]=-2"),
        ("edit", MODEL, TEXT, "weight/unembed.W_U[d_model=1,vocab=4]=3"),
    ],
)
def test_the_command_at_the_end_explains_the_edited_number(glassformer: Command, arguments):
    shown = glassformer("lab", *arguments).stdout
    after = re.search(r"before,\s+(\S+)\s+after", shown)
    assert after is not None
    ended = glassformer(*pasted(shown))
    assert ended.code == 0
    value = re.search(r"= (\S+)\n", ended.stdout)
    assert value is not None
    assert float(value[1]) == pytest.approx(float(after[1]), rel=1e-3)
    assert "agrees" in ended.stdout


def test_patching_a_prompt_with_itself_says_that_nothing_changed(glassformer: Command):
    ended = glassformer("lab", "patch", MODEL, TEXT, "--from", TEXT, "blocks.0.resid_post")
    assert ended.code == 0
    assert re.search(r"None of the \d+ values changed", ended.stdout)


def test_patching_the_last_stream_gives_the_other_prompts_prediction(glassformer: Command):
    other = "the dog sat the"
    ended = glassformer("lab", "patch", MODEL, TEXT, "--from", other, "blocks.0.resid_post")
    model, tokenizer = open_run(MODEL)
    probs = model.watch(torch.tensor([tokenizer.encode(other)]))["probs"][-1]
    rows = {row[0]: row for row in section(ended.stdout, "The next token")[1:]}
    for token in range(6):
        assert rows[tokenizer.token(token)][3] == number(probs[token].item())
    assert "(explain shows it as it was before)" in ended.stdout


def test_the_lens_ends_in_the_prediction_and_its_example_is_explained(
    glassformer: Command, tmp_path: Path
):
    ended = glassformer("lab", "lens", MODEL, TEXT, "--out", tmp_path / "lens.png")
    model, tokenizer = open_run(MODEL)
    probs = model.watch(torch.tensor([tokenizer.encode(TEXT)]))["probs"]
    rows = section(ended.stdout, "The best guess after each layer")[1:]
    for row, p in zip(rows, probs, strict=True):
        assert row[4:6] == [tokenizer.token(int(p.argmax())), number(p.max().item(), 3)]
    assert [row[6:] for row in rows] == [["cat"], ["sat"], ["on"], []]
    assert (tmp_path / "lens.png").read_bytes().startswith(b"\x89PNG")
    shown = glassformer("lab", "lens", MODEL, TEXT, "--pos", "1").stdout
    explained = glassformer(*pasted(shown))
    assert "pos 1 cat" in explained.stdout
    assert "agrees" in explained.stdout


def test_layers_that_do_not_fit_are_counted_and_all_there_for_one_position(
    glassformer: Command, run: Path
):
    wide = glassformer("lab", "lens", run, "Mia has").stdout
    assert "… 2 of 5 columns left out; --pos N has every layer" in wide
    head = section(wide, "The best guess after each layer")[0]
    assert head[1:6] == ["start", "layer", "1", "layer", "3"]
    one = glassformer("lab", "lens", run, "Mia has", "--pos", "0").stdout
    assert [row[0] for row in section(one, "The best guesses after 0")[1:]] == ["start"] + 4 * [
        "layer"
    ]


def test_attribution_prints_the_sum_the_logit_and_their_difference(glassformer: Command):
    ended = glassformer("lab", "attribution", MODEL, TEXT, "--token", "mat", "--pos", "1")
    model, tokenizer = open_run(MODEL)
    logits = model.watch(torch.tensor([tokenizer.encode(TEXT)]))["logits"]
    figures = dict(
        re.findall(r"  (sum of all 4 shares|recorded logit|difference) +(\S+)", ended.stdout)
    )
    assert float(figures["recorded logit"]) == logits[1, 4].item()
    # fp32: the pass rounds to seven digits
    assert float(figures["sum of all 4 shares"]) == pytest.approx(logits[1, 4].item(), abs=1e-6)
    gap = float(figures["sum of all 4 shares"]) - float(figures["recorded logit"])
    assert float(figures["difference"]) == pytest.approx(gap, rel=0.05)
    shares = [row for row in section(ended.stdout, "The logit of mat") if "fwd/" in row[-1]]
    printed = [next(w for w in row if re.fullmatch(r"[+-][\d.e-]+", w)) for row in shares]
    sizes = [abs(float(share)) for share in printed]
    assert sizes == sorted(sizes, reverse=True)
    total = re.findall(r"sum as printed +(\S+)", ended.stdout)[0]
    assert gives(" + ".join(f"({share})" for share in printed), total)
    assert len(shares) == 4


def test_the_nearest_word_comes_with_its_arithmetic(glassformer: Command):
    model, tokenizer = open_run(MODEL)
    W_E = model.weights()["embed.W_E"].detach().double().numpy()
    cat, dog = (W_E[tokenizer.id(word)] for word in ("cat", "dog"))
    printed = glassformer("lab", "neighbors", MODEL, "cat", "-n", "2").stdout
    assert printed == glassformer("lab", "neighbours", MODEL, "cat", "-n", "2").stdout
    assert [row[1] for row in section(printed, "Nearest to cat")[1:]] == ["dog", "mat"]
    cosine = number(cat @ dog / ((cat @ cat) * (dog @ dog)) ** 0.5, 6)
    product = re.findall(rf"= (\S+ / \(\S+ \* \S+\)) = {cosine}", printed)[0]
    assert gives(product, cosine)
    assert calculate(product.partition("/")[0]) == pytest.approx(cat @ dog)
    assert "weight/embed.W_E[vocab=1]" in printed
    assert "weight/embed.W_E[vocab=5]" in printed


def test_an_analogy_leaves_its_own_words_out(glassformer: Command):
    printed = glassformer("lab", "analogy", MODEL, "cat", "the", "mat").stdout
    rows = section(printed, "cat - the + mat")[1:]
    assert {row[1] for row in rows} == {"dog", "sat", "on"}
    assert "glassformer plot worked_example TEXT" in printed


def test_in_context_says_why_a_part_is_left_out(glassformer: Command, run: Path):
    ended = glassformer("lab", "in-context", run)
    assert ended.code == 0
    assert "4 more heads" in ended.stdout  # of twelve
    assert "Left out:" in ended.stdout
    assert "nothing says that it was trained on Storyland" in ended.stdout.replace("\n", " ")


def test_in_context_reports_on_a_run_of_storyland_with_pictures(
    glassformer: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(in_context, "TEXTS", 40)
    monkeypatch.setattr(in_context, "_why_not_measured", lambda _: "")
    monkeypatch.setattr(in_context, "_kind_of", lambda _: "storyland")
    ended = glassformer("lab", "in-context", run, "--out", tmp_path)
    names = {"surprise-by-position", "induction", "examples", "storyland-by-position"}
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn <= names
    assert drawn >= names - {"examples"}  # drawn where a pattern was asked often enough
    asked = sum(int(n) for n in re.findall(r"/ +(\d+)", ended.stdout))
    assert asked > 0
    assert "Surprise by position in Storyland texts" in ended.stdout


@pytest.mark.parametrize(
    ("kind", "said"),
    [("text", "other text than Storyland"), ("storyland", ""), ("prompts", "")],
)
def test_what_a_run_was_trained_on_decides_whether_storyland_is_asked(
    tmp_path: Path, kind: str, said: str
):
    config = Config(vocab_size=9, n_ctx=4, d_model=4, n_layers=1, n_heads=1)
    description = Description(config, Recipe(), {"kind": kind, "n_ctx": 4}, "0" * 64)
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, **description.to_dict()}))
    why_not = in_context._why_not_measured(str(tmp_path))
    assert said in why_not
    assert bool(why_not) == bool(said)


EVERYTHING = [
    ("ablate", "Mia has a gray", "--head", "1.2", "--head", "3.0", "--target", " cat"),
    ("ablate", "Mia has a gray", "--layer", "2", "--all"),
    ("edit", "Mia has a gray", "blocks.0.attn.attn_scores[head=1,query=3,key=0]=5"),
    ("edit", "Mia", "weight/embed.W_E=0.5"),
    ("patch", "Mia has a gray", "--from", "Tom has", "blocks.1.attn.z[pos=1]"),
    ("lens", "Mia has a gray cat. Tom has a brown dog. zib"),
    ("lens", "Mia has a gray cat", "--pos", "-1"),
    ("attribution", "Mia has a gray"),
    ("attribution", "Mia has a gray", "--all", "--pos", "0"),
    ("neighbors", "cat"),
    ("analogy", "cat", "dog", "a"),
    ("in-context",),
]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("arguments", EVERYTHING, ids=lambda a: " ".join(a[:3]))
def test_no_line_is_wider_than_the_terminal_and_a_pipe_gets_plain_text(
    glassformer: Command, run: Path, monkeypatch: pytest.MonkeyPatch, width: int, arguments
):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(run.parent)
    ended = glassformer("lab", arguments[0], run.name, *arguments[1:])
    assert (ended.code, ended.stderr) == (0, "")
    widest = max(ended.stdout.splitlines(), key=cell_len)
    assert cell_len(widest) <= width, widest
    assert "\x1b" not in ended.stdout
    assert "nan" not in ended.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ablate", MODEL, TEXT), "nothing is switched off; say what: --head 0.2"),
        (("ablate", MODEL, TEXT, "--head", "2"), "--head '2' is not LAYER.HEAD"),
        (("ablate", MODEL, TEXT, "--head", "0.3"), "head 3 is not there; heads go from 0 to 0"),
        (("ablate", MODEL, TEXT, "--neuron", "5.0"), "layer 5 is not there"),
        (("ablate", MODEL, TEXT, "--layer", "0", "--target", "cow"), "'cow' is not one of the 6"),
        (("ablate", MODEL, "the cow", "--layer", "0"), "'cow' is not one of this tokenizer's"),
        (("edit", MODEL, TEXT, "blocks.0.attn.z"), "'blocks.0.attn.z' is no edit"),
        (("edit", MODEL, TEXT, "blocks.0.attn.zz=0"), "Did you mean 'fwd/blocks.0.attn.z'?"),
        (("edit", MODEL, TEXT, "weight/embed.W_X=0"), "Did you mean 'weight/embed.W_E'?"),
        (("edit", MODEL, TEXT, "bwd/logits=0"), "cannot be edited"),
        (("patch", MODEL, TEXT, "--from", "the", "resid_start"), "the new value is"),
        (("patch", MODEL, TEXT, "logits"), "Missing option '--from'"),
        (("lens", MODEL, TEXT, "--pos", "4"), "there is no position 4"),
        (("lens", MODEL, TEXT, "--out", "lens.gif"), "is neither .png nor .svg"),
        (("attribution", MODEL, TEXT, "--token", ""), "'' is not one of the 6 tokens"),
        (("attribution", MODEL, TEXT, "--pos", "-5"), "there is no position -5"),
        (("neighbors", MODEL, "cats"), "'cats' is not one of the 6 tokens"),
        (("analogy", MODEL, "cat", "cat", "dog"), "three different tokens"),
        (("neighbors", "no-such-run", "cat"), "there is no folder and no preset 'no-such-run'"),
        (
            ("lens", "gpt3", TEXT),  # said before 698 GB of weights are made
            "gpt3 is a preset: sizes with random weights and no tokenizer",
        ),
        (("ablat", MODEL), "No such command 'ablat'. Did you mean"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(glassformer: Command, arguments, said):
    ended = glassformer("lab", *arguments)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr


def test_a_word_of_several_tokens_is_refused_with_its_tokens(run: Path):
    tokenizer = Tokenizer.load(run)
    assert tokenizer.token(token_of(tokenizer, "dog")) == " dog"  # "dog" itself is no token
    assert tokenizer.token(token_of(tokenizer, "cat")) == "cat"
    assert tokenizer.token(token_of(tokenizer, " cat")) == " cat"
    assert tokenizer.token(token_of(tokenizer, "a")) == "a"
    assert tokenizer.token(token_of(tokenizer, "<eos>")) == "<eos>"
    with pytest.raises(GlassformerError, match=r"'queen' is \d tokens here: 'q', .* give one"):
        token_of(tokenizer, "queen")


def test_the_lab_lists_its_verbs_and_loads_nothing_heavy():
    program = (
        "import sys; sys.argv[1:] = ['lab', '--help']; import glassformer.cli.app as app;"
        " app.run(); print('HEAVY', {'torch', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert "HEAVY set()" in shown
    assert [verb for verb in lab.VERBS if verb not in shown] == []
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("verb", lab.VERBS)
def test_every_verb_of_the_lab_prints_help_with_an_example(glassformer: Command, verb: str):
    ended = glassformer("lab", verb, "--help")
    assert ended.code == 0
    assert f"glassformer lab {verb} " in ended.stdout.replace("Usage: glassformer lab", "")
    assert "[" not in re.sub(r"\[[^\]]*\]", "", ended.stdout)


def test_without_a_verb_the_labs_help_is_shown(glassformer: Command):
    ended = glassformer("lab")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == glassformer("lab", "--help").stdout


@pytest.mark.heavy
def test_the_shell_completes_the_labs_verbs_and_their_options():
    def completed(words: str, index: int) -> list[str]:
        environment = {"COMP_WORDS": words, "COMP_CWORD": str(index)}
        shown = subprocess.run(
            [sys.executable, "-m", "glassformer"],
            capture_output=True,
            text=True,
            env={**environment, "_GLASSFORMER_COMPLETE": "complete_bash", "OMP_NUM_THREADS": "1"},
        )
        return shown.stdout.split()

    assert completed("glassformer lab ", 2) == list(lab.VERBS)
    assert completed("glassformer lab lens --o", 3) == ["--out"]
