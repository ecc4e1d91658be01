"""Whatever number a person types, a command does its work or says in one line why not."""

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from glassformer.cli import app as cli
from glassformer.cli import lab, serve
from glassformer.errors import GlassformerError

TINY = [
    *("--tokenizer=chars", "--n-ctx=8", "--d-model=8", "--n-layers=1", "--n-heads=1"),
    *("--batch-size=32", "--steps=2", "--eval-every=1"),
]
PASS = ["run", "the cat"]
NUMBER = "weight/embed.W_E[vocab=1,d_model=1]"
TYPED: dict[tuple[str, ...], list[str]] = {
    ("learn",): [],
    ("course",): ["--out=course.html"],
    ("demo",): [],
    ("train",): ["text.txt", *TINY],
    ("sweep",): ["only.toml", "--out=swept"],
    ("eval",): ["run", "text.txt"],
    ("ask",): [*PASS, "--max-tokens=2"],
    ("trace",): PASS,
    ("explain",): [*PASS, "choose/token"],
    ("step",): PASS,
    ("biography",): ["run", NUMBER],
    ("serve",): ["run", "--no-open"],
    ("page",): [*PASS, "--out=page.html"],
    ("plot",): [*PASS, "--out=pictures"],
    ("export",): ["run", "exported"],
    ("params",): ["run"],
    ("tokenize",): ["the cat", "--corpus=text.txt"],
    ("lab", "ablate"): [*PASS, "--head=0.0"],
    ("lab", "patch"): [*PASS, "fwd/blocks.0.attn.out", "--from=the mat"],
    ("lab", "lens"): PASS,
    ("lab", "attribution"): PASS,
    ("lab", "neighbors"): ["run", "c"],
    ("lab", "analogy"): ["run", "c", "t", "m"],
    ("lab", "edit"): [*PASS, f"{NUMBER}=2"],
    ("lab", "in-context"): ["run"],
}
NUMBERS = ("0", "-1", "1e300", "99999999999999999999", "nan", "inf", "-inf")


def options(verb: tuple[str, ...]) -> Iterator[str]:
    """The options of a command that take a number."""
    package = "glassformer.cli" if len(verb) == 1 else "glassformer.cli.lab"
    for option in cli.load_verb(verb[-1], package).params:
        kind = option.type_descriptor.annotation if option.param_type_name == "option" else str
        if kind in (int, float, list[int], list[float]):
            yield max(option.opts, key=len)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a run, and a sweep of one variant that is trained already."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "text.txt").write_text("the cat sat on a mat. the dog sat on the cat. " * 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(patch, ["train", "text.txt", "--out=run", *TINY])[0] == 0
        shutil.copytree("run", "swept/only")
        for copy in ("only.toml", "swept/only.toml"):
            shutil.copy("run/train.toml", copy)
    return folder


def run(patch: pytest.MonkeyPatch, words: list[str]) -> tuple[int, str]:
    """The exit code of the command line, and what it wrote to stderr."""
    patch.setattr(sys, "argv", ["glassformer", *words])
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        return cli.run(), said.getvalue()


def no_server(host: str, port: int | None) -> None:
    """What `serve` does after it has read its options."""
    raise GlassformerError(f"{host}:{port} is not listened at in a test")


def test_every_command_is_tried():
    verbs = {(verb,) for verb in cli.VERBS if verb != "lab"} | {("lab", verb) for verb in lab.VERBS}
    assert set(TYPED) == verbs
    assert sum(len([*options(verb)]) for verb in TYPED) > 40


@pytest.mark.parametrize("verb", TYPED, ids=" ".join)
def test_any_number_is_used_or_refused_in_one_line(verb, prepared, monkeypatch, tmp_path):
    monkeypatch.chdir(prepared)
    monkeypatch.setattr(serve, "listen", no_server)
    for option in options(verb):
        words = [word for word in TYPED[verb] if word.partition("=")[0] != option]
        for number in NUMBERS:
            out = [f"--out={tmp_path / f'{option}{number}'}"] if verb == ("train",) else []
            code, said = run(monkeypatch, [*verb, *words, *out, f"{option}={number}"])
            tried = f"{' '.join(verb)} {option} {number}: {said}"
            assert code in (0, 2), tried
            if code == 2:
                assert said.startswith("error: "), tried
                assert said.count("\n") == 1, tried
                assert "Missing argument" not in said, tried
                assert "No such option" not in said, tried
