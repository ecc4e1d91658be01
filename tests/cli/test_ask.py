"""glassformer ask: text streams out, is never harmful, and says what should be known about it."""

import io
import os
import pty
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from glassformer.cli.answer import Answers, write
from glassformer.cli.prompt_line import COMMANDS, HELP, converse, obey
from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate
from glassformer.generation.sampling import Sampling
from glassformer.interop import load, save
from glassformer.model import Config
from glassformer.text.tokenizer import Tokenizer
from tests.command_line import Command
from tests.generation.models import speaking

TEXT = "the cat sat on the mat. the dog sat on the cat. "


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a byte-level tokenizer and a model that says anything."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    tokenizer = Tokenizer.train("bpe", [TEXT * 9], vocab_size=290)
    config = Config(vocab_size=290, n_ctx=24, d_model=16, n_layers=2, n_heads=2)
    save(speaking(config).float(), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tokenizer knows a few words."""
    folder = tmp_path_factory.mktemp("runs") / "words"
    tokenizer = Tokenizer.train("words", [TEXT])
    config = Config(vocab_size=tokenizer.vocab_size, n_ctx=12, d_model=16, n_layers=2, n_heads=2)
    save(speaking(config).float(), tokenizer, folder)
    return folder


@pytest.fixture
def ask(glassformer: Command) -> Command:
    return lambda *arguments, piped="": glassformer("ask", *arguments, piped=piped)


def test_the_text_is_the_prompt_and_what_generate_makes_of_it(ask, run):
    code, out, err = ask(run, "the cat", "--seed", 3, "--max-tokens", 9, "--temperature", 0.8)
    model, tokenizer = load(run)
    assert tokenizer is not None
    ids = tokenizer.encode("the cat")
    text = generate(model, ids, max_new_tokens=9, temperature=0.8, seed=3, stop_ids=[0])
    assert (code, err) == (0, "")
    assert out == tokenizer.decode(ids + list(text)) + "\n"


def test_a_prompt_comes_from_a_pipe_less_the_newline_at_its_end(ask, run):
    typed = ask(run, "the cat", "--seed", 1, "--max-tokens", 5)
    assert ask(run, "--seed", 1, "--max-tokens", 5, piped="the cat\n") == typed


def test_piped_there_is_nothing_but_the_text_unless_the_table_is_asked_for(ask, run):
    how = (run, "the cat", "--seed", 3, "--max-tokens", 4, "--top-k", 5)
    _, text, _ = ask(*how)
    _, more, _ = ask(*how, "--table")
    assert text.count("\n") == 1 + text.rstrip("\n").count("\n")
    assert more.startswith(text)
    assert "model  top-k 5    drawn" in more
    assert "the drawn number u =" in more
    assert "(top-k 5, seed 3)" in more.replace("\n", " ")


def test_at_the_end_of_the_context_the_text_ends_and_says_so(ask, run):
    code, _, err = ask(run, "the cat sat on the", "--seed", 2)
    assert code == 0
    assert err == "note: the text ends here: the model reads no more than n_ctx=24 tokens\n"


def test_a_stop_text_is_where_the_text_ends(ask, run):
    _, text, _ = ask(run, "the", "--seed", 2)
    stop = text[7:9]
    _, stopped, err = ask(run, "the", "--seed", 2, "--stop", stop, "--stop", "no such text")
    assert stopped == text[: text.index(stop, 3)] + "\n"
    assert err == ""


def test_words_that_the_tokenizer_does_not_know_are_named(ask, words):
    code, _, err = ask(words, "the lion sat on a cat", "--max-tokens", 0)
    assert code == 0
    assert err == "note: not in the vocabulary, read as <unk>: 'lion', 'a'\n"


def test_without_a_word_the_model_begins_a_text_of_its_own(ask, words):
    answers = [ask(words, "", "--temperature", 9, "--seed", seed) for seed in range(5)]
    assert [code for code, _, _ in answers] == [0] * 5
    assert len({out for _, out, _ in answers}) > 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["the " * 30], "error: the prompt has 31 tokens and the model reads at most n_ctx=24"),
        (["the", "--top-p", "1.5"], "error: top_p=1.5 is no probability"),
        (["the", "--temperature", "-1"], "error: temperature=-1 is negative"),
        (["the", "--stop", ""], "error: a stop text is empty"),
        (["the", "--max-tokens", "-1"], "error: Invalid value for '--max-tokens'"),
    ],
)
def test_what_can_not_be_done_is_one_line_and_exit_code_2(ask, run, options, said):
    code, out, err = ask(run, *options)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(said)
    assert out == ""


def test_an_unknown_run_is_answered_with_the_nearest_preset(ask):
    code, _, err = ask("minature", "the")
    assert code == 2
    assert "Did you mean 'miniature'?" in err


def on_a_terminal(*command: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *command],
        stdout=theirs,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return seen.decode().replace("\r\n", "\n")


def test_a_terminal_sees_control_characters_written_out_and_the_table():
    program = "from glassformer.cli.answer import write; write('a\\x1b[2J\\rb\\u202ec\\n')"
    assert on_a_terminal("-c", program) == "a\\x1b[2J\\rb\\u202ec\n"


@pytest.mark.heavy
def test_on_a_terminal_the_table_is_shown_and_fits_80_columns(run):
    seen = on_a_terminal("-m", "glassformer", "ask", str(run), "the cat", "--max-tokens", "3")
    assert "Token 1, after 'the cat':" in seen
    assert "was chosen: the drawn number" in seen.replace("\n", " ")
    assert max(map(len, seen.splitlines())) <= 80


def test_a_pipe_gets_the_text_as_it_is(capsys):
    write("a\x1b[2J\n")
    assert capsys.readouterr().out == "a\x1b[2J\n"


def test_letters_that_the_output_cannot_spell_are_written_out(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    write("caf\u00e9\n")
    assert raw.getvalue() == b"caf\\xe9\n"


# --- line by line ---------------------------------------------------------------------------------


@pytest.fixture
def answers(run) -> Answers:
    model, tokenizer = load(run)
    assert tokenizer is not None
    return Answers(model, tokenizer, Sampling(), max_tokens=5, seed=1)


def test_lines_are_continued_and_commands_change_how(answers, capsys):
    for line in ("/temperature 0", "/top-k 7", "/max-tokens 3", "/seed off", "/stop X", "the cat"):
        assert obey(answers, line)
    assert answers.sampling == Sampling(temperature=0, top_k=7)
    assert (answers.max_tokens, answers.seed, answers.stop) == (3, None, ["X"])
    out = capsys.readouterr().out
    assert "greedy; at most 3 tokens, a new seed each time, stop at 'X'" in out
    assert "the cat" in out
    assert obey(answers, "/top-k off")
    assert answers.sampling.top_k is None


def test_the_last_answer_can_be_looked_into(answers, capsys):
    obey(answers, "the cat")
    capsys.readouterr()
    obey(answers, "/why 2")
    before = capsys.readouterr().out
    assert "Token 2, after 'the cat" in before
    obey(answers, "/temperature 0")  # how the next one is made does not change the last one
    capsys.readouterr()
    obey(answers, "/why 2")
    assert capsys.readouterr().out == before
    obey(answers, "/trace")
    assert "pattern" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/temprature 1", "/temprature is no command. Did you mean '/temperature'?"),
        ("/temperature hot", "/temperature takes a number, not 'hot'"),
        ("/top-k 1.5", "/top-k takes a whole number, not '1.5'"),
        ("/top-p 2", "top_p=2 is no probability"),
        ("/why", "there is no answer yet"),
        ("/trace", "there is no answer yet"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(answers, line, said):
    with pytest.raises(GlassformerError) as raised:
        obey(answers, line)
    assert said in str(raised.value)


def test_a_token_that_the_answer_does_not_have_can_not_be_asked_for(answers, capsys):
    obey(answers, "the cat")
    with pytest.raises(GlassformerError, match=r"has tokens 1 to \d, and none is number 99"):
        obey(answers, "/why 99")
    capsys.readouterr()


def test_help_lists_every_command(answers, capsys):
    obey(answers, "/help")
    assert capsys.readouterr().out == HELP + "\n"
    assert [command for command in COMMANDS if command not in HELP] == []
    assert max(map(len, HELP.splitlines())) <= 80


def test_show_is_the_way_to_the_last_answers_first_token(answers, capsys):
    with pytest.raises(GlassformerError, match="no answer yet"):
        obey(answers, "/show")
    obey(answers, "the cat", show=True)
    shown = capsys.readouterr().out
    obey(answers, "/show")
    assert shown.endswith(capsys.readouterr().out)
    for section in ("TOKENIZATION", "EMBEDDINGS", "LAYER 1", "OUTPUT HEAD"):
        assert section in shown


@pytest.mark.parametrize("line", ["quit", " Quit ", "exit", "/quit"])
def test_quit_leaves_and_is_no_prompt(answers, capsys, line):
    assert not obey(answers, line)
    assert capsys.readouterr().out == ""


def talk(answers):
    """Converse in a thread of its own: a browser's test may have left its loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(copy_context().run, converse, answers).result()


def test_a_conversation_goes_on_after_an_error_and_ends_with_quit(answers, capsys):
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("/temprature\nthe cat\n\n/quit\nnever read\n")
        talk(answers)
    shown = capsys.readouterr()
    assert shown.err.startswith("error: /temprature is no command.")
    assert "the cat" in shown.out
    assert "never read" not in shown.out


def test_earlier_lines_come_back_with_the_up_key(answers, capsys):
    up, end_of_input = "\x1b[A", "\x04"
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):

        def type_slowly() -> None:
            keys.send_text("the cat\n")
            for _ in range(10):  # earlier lines are there a moment after the prompt is
                time.sleep(0.1)
                keys.send_text(up)
            keys.send_text(f"\n{end_of_input}")

        threading.Thread(target=type_slowly).start()
        talk(answers)
    assert capsys.readouterr().out.count("the cat") == 2


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_packed_weights_answer_too(ask, run, weights):
    code, out, err = ask(run, "the cat", "--max-tokens", 5, "--seed", 1, "--weights", weights)
    assert (code, err) == (0, "")
    assert out.startswith("the cat")
    assert len(out) > len("the cat\n")


def test_without_a_compiler_packed_weights_answer_with_a_note(ask, run, monkeypatch, tmp_path):
    printed = ask(run, "the cat", "--max-tokens", 5, "--seed", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    how = ("--max-tokens", 5, "--seed", 1, "--weights", "float32")
    code, out, err = ask(run, "the cat", *how)
    assert (code, out) == printed[:2]
    assert "note: generating without a compiled step: " in err
    assert "no-such-compiler" in err


def test_an_unknown_width_of_weights_is_refused(run):
    model, tokenizer = load(run)
    assert tokenizer is not None
    with pytest.raises(GlassformerError, match="float32, bfloat16, int8"):
        Answers(model, tokenizer, Sampling(), 3, weights="int4")
