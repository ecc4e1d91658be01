"""The command line: quick to answer, plain about errors."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from glassformer.cli import app as cli
from glassformer.errors import GlassformerError
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from tests.command_line import Command


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glassformer", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_ctrl_c_while_it_starts_ends_it_without_a_word():
    program = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "class Reader:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Reader)\n"
        "runpy.run_module('glassformer', run_name='__main__')\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout, shown.stderr) == (-signal.SIGINT, "", "")


def modules_imported_by(program: str) -> set[str]:
    report = f"import sys\ntry:\n    {program}\nfinally:\n    print('\\n', *sys.modules)"
    shown = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True)
    return set(shown.stdout.splitlines()[-1].split())


def run_with_verb(
    monkeypatch: pytest.MonkeyPatch, outcome: BaseException | None = None, verb: str = "probe"
) -> int:
    """Run the command line with one verb, which prints a line or raises `outcome`."""

    def command() -> None:
        if outcome is not None:
            raise outcome
        print("done")

    module = type(sys)(f"glassformer.cli.{verb}")
    module.__dict__["command"] = command
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "app", typer.Typer(cls=cli.VerbGroup, pretty_exceptions_enable=False))
    cli.app.callback()(lambda: None)
    cli.app.command(verb)(lambda: None)
    monkeypatch.setattr(sys, "argv", ["glassformer", verb])
    return cli.run()


def test_help_lists_every_verb_and_imports_nothing_heavy():
    program = "import sys; sys.argv[1:] = ['--help']; import glassformer.__main__"
    heavy = {"torch", "matplotlib", "numpy", "importlib.metadata"}
    assert not heavy & modules_imported_by(program)
    shown = started("--help").stdout
    assert [verb for verb in cli.VERBS if verb not in shown] == []


@pytest.mark.heavy
def test_a_number_of_a_model_in_a_folder_is_explained_without_sympy_and_matplotlib(tmp_path: Path):
    model = Decoder(Config(vocab_size=2, n_ctx=4, d_model=2, n_layers=1, n_heads=1))
    save(model, Tokenizer.from_words(["the", "cat"]), tmp_path)
    command = ["explain", str(tmp_path), "the cat", "logits[pos=1,vocab=0]"]
    program = f"import sys; sys.argv[1:] = {command}; import glassformer.__main__"
    assert ": agrees" in started(*command).stdout
    assert not {"sympy", "matplotlib"} & modules_imported_by(program)


def test_importing_the_package_does_not_import_torch():
    assert "torch" not in modules_imported_by("import glassformer")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_listed_verb_can_be_loaded_and_prints_its_help(verb: str):
    command = cli.load_verb(verb)
    assert command.name == verb
    assert command.help
    for paragraph in command.help.split("\n\n"):
        lines = paragraph.splitlines()
        assert len(lines) < 2 or max(map(len, lines)) <= 78, "80 columns break a line twice"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_no_help_at_80_columns_cuts_an_option_or_an_example(verb: str, glassformer: Command):
    more = cli.load_verb(verb).list_commands(None) if verb == "lab" else []
    for words in ([verb], *([verb, name] for name in more)):
        ended = glassformer(*words, "--help")
        assert "…" not in ended.stdout
        assert max(map(len, ended.stdout.splitlines())) <= 80


def test_without_a_verb_the_help_is_shown():
    shown = started()
    assert shown.returncode == 0
    assert shown.stdout.strip() == started("--help").stdout.strip()


def test_version_is_that_of_the_installed_package():
    assert started("--version").stdout == "glassformer 0.1.0\n"


def test_a_verb_runs_and_its_success_is_exit_code_0(monkeypatch, capsys):
    assert run_with_verb(monkeypatch) == 0
    assert capsys.readouterr().out == "done\n"


def test_an_error_is_one_line_on_stderr_and_exit_code_2(monkeypatch, capsys):
    error = GlassformerError("d_model=10 does not split into n_heads=4 heads;\n  try 8 or 12")
    assert run_with_verb(monkeypatch, error) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: d_model=10 does not split into n_heads=4 heads; try 8 or 12\n"


def test_a_refusal_of_the_operating_system_names_the_file(monkeypatch, capsys):
    assert run_with_verb(monkeypatch, PermissionError(13, "Permission denied", "runs/demo")) == 2
    assert capsys.readouterr().err == "error: Permission denied: runs/demo\n"


def test_ctrl_c_is_exit_code_130_without_a_traceback(monkeypatch, capsys):
    assert run_with_verb(monkeypatch, KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_with_verb(monkeypatch, ZeroDivisionError())


def test_an_unknown_verb_is_answered_with_the_nearest_one(monkeypatch, capsys):
    run_with_verb(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["glassformer", "prob"])
    assert cli.run() == 2
    expected = "error: No such command 'prob'. Did you mean 'probe'? See 'glassformer --help'.\n"
    assert capsys.readouterr().err == expected


def test_an_unknown_option_is_one_line_and_says_where_the_options_are_listed():
    shown = started("--versoin")
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr.startswith("error: No such option: --versoin")
    assert shown.stderr.endswith("See 'glassformer --help'.\n")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("step", "miniature", "the cat", "--lr", "1", "--lr", "2"), "--lr"),
        (("train", "--compile", "--no-compile"), "--compile/--no-compile"),
        (("lab", "lens", "miniature", "the cat", "--at-step", "1", "--at-step", "2"), "--at-step"),
    ],
)
def test_an_option_given_twice_is_refused_and_the_first_not_dropped(
    glassformer: Command, arguments: tuple[str, ...], option: str
):
    ended = glassformer(*arguments)
    assert ended.code == 2
    assert f"error: {option} is given twice; give it once. See" in ended.stderr


def test_a_reader_that_goes_away_early_causes_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "glassformer", "--version"]
    shown = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (shown.returncode, shown.stderr) == (1, "")


def test_shell_completion_offers_verbs_and_options():
    words = {"COMP_WORDS": "glassformer ", "COMP_CWORD": "1"}
    verbs = started(**words, _GLASSFORMER_COMPLETE="complete_bash").stdout.split()
    assert verbs == list(cli.VERBS)
    words["COMP_WORDS"] += "--ver"
    options = started(**words, _GLASSFORMER_COMPLETE="complete_bash").stdout.split()
    assert options == ["--version"]
