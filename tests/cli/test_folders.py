"""Folders from elsewhere at the commands: padded vocabularies, end tokens, scores that overflow."""

import json
from pathlib import Path

import pytest
import torch

from glassformer.cli.answer import Answers
from glassformer.cli.prompt_line import obey
from glassformer.generation.generate import generate
from glassformer.generation.sampling import Sampling
from glassformer.interop import load, save
from glassformer.model import Config
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import open_run
from tests.command_line import Command
from tests.generation.models import speaking

TEXT = "the cat sat on the mat. the dog sat on the cat. "
CONFIG = Config(vocab_size=400, n_ctx=24, d_model=16, n_layers=2, n_heads=2)


def saved(folder: Path, dtype: torch.dtype = torch.float32, too_large: float = 1.0) -> Path:
    """A folder whose model has over 100 ids more than its tokenizer has tokens."""
    model = speaking(CONFIG).float()
    with torch.no_grad():
        for part in ("W_in", "W_out"):
            model.get_parameter(f"blocks.0.mlp.{part}").mul_(too_large)
    save(model.to(dtype), Tokenizer.train("bpe", [TEXT * 9], vocab_size=290), folder)
    return folder


@pytest.fixture
def columns() -> int:
    return 100


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("padded") / "model")


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("overflowing") / "model", torch.float16, 3e3)


def seed_without_a_token(folder: Path) -> int:
    """A seed with which the first new token is an id that has no token."""
    model, tokenizer = load(folder)
    assert tokenizer is not None
    ids = tokenizer.encode("the cat")
    return next(
        seed
        for seed in range(200)
        if next(generate(model, ids, max_new_tokens=1, seed=seed)) >= tokenizer.vocab_size
    )


def test_an_id_without_a_token_crashes_no_command(glassformer: Command, padded, tmp_path):
    seed = str(seed_without_a_token(padded))
    asked = glassformer("ask", str(padded), "the cat", "--seed", seed, "--table")
    assert asked.code == 0, asked.stderr
    for address in ("choose/token", "@token=1 choose/token"):
        explained = glassformer("explain", str(padded), "the cat", address, "--seed", seed)
        assert explained.code == 0, explained.stderr
    for command in (
        ["trace", padded, "the cat"],
        ["lab", "lens", padded, "the cat"],
        ["plot", padded, "the cat", "--out", tmp_path / "pictures"],
        ["page", padded, "the cat", "--out", tmp_path / "page.html"],
    ):
        done = glassformer(*command)
        assert done.code == 0, done.stderr


def test_a_conversation_looks_into_an_answer_with_ids_that_have_no_token(padded, capsys):
    seed = seed_without_a_token(padded)
    answers = Answers(*open_run(str(padded)), Sampling(), 4, [], seed)
    for line in ("the cat", "/why 1", "/why 2", "/trace"):
        assert obey(answers, line)
    assert "<" in capsys.readouterr().out


def test_scores_that_overflow_are_one_line_everywhere(glassformer: Command, overflowing, tmp_path):
    folder = str(overflowing)
    (tmp_path / "text.txt").write_text(TEXT * 4)
    for command in (
        ["ask", folder, "the cat"],
        ["ask", folder, "the cat", "--temperature", "0", "--table"],
        ["explain", folder, "the cat", "choose/token"],
        ["eval", folder, str(tmp_path / "text.txt")],
        ["lab", "ablate", folder, "the cat", "--head", "0.0"],
        ["lab", "lens", folder, "the cat"],
    ):
        done = glassformer(*command)
        assert done.code == 2, (command, done.stdout)
        assert done.stderr.startswith("error: ")
        assert "float16, which ends at 65,504" in done.stderr
        assert done.stderr.count("\n") == 1
    as_json = glassformer("eval", folder, str(tmp_path / "text.txt"), "--json")
    assert as_json.code == 2
    assert json.loads(as_json.stdout, parse_constant=pytest.fail)["loss"] is None
    traced = glassformer("trace", folder, "the cat")
    assert traced.code == 0
    assert "so there is no prediction" in " ".join(traced.stdout.split())


def test_several_end_tokens_and_settings_of_the_folder_are_obeyed_and_said(
    glassformer: Command, padded, tmp_path
):
    model, tokenizer = load(padded)
    assert tokenizer is not None
    ids = tokenizer.encode("the cat")
    free = list(generate(model, ids, max_new_tokens=6, temperature=0))
    stop = free[2]
    model.folder_settings.generation.update(
        eos_token_id=[0, stop], do_sample=False, max_new_tokens=6
    )
    save(model, tokenizer, tmp_path / "model")
    done = glassformer("ask", str(tmp_path / "model"), "the cat", "--table")
    n = free.index(stop)
    assert f"{n} token{'s' * (n != 1)} (greedy). The end: a stop token" in done.stdout
    assert "generation_config.json says: temperature=0, max_new_tokens=6" in done.stderr
    end = tokenizer.decode_known([*ids, *free])[-1]
    model.folder_settings.generation.update(
        eos_token_id=0, max_length=len(ids) + 5, stop_strings=end
    )
    del model.folder_settings.generation["max_new_tokens"]
    save(model, tokenizer, tmp_path / "stops")
    stopped = glassformer("ask", str(tmp_path / "stops"), "the cat", "--table")
    assert f"max_length={len(ids) + 5}, stop_strings=['{end}']" in stopped.stderr
    assert not stopped.stdout.splitlines()[0].removeprefix("the cat").count(end)
    assert "The end: a stop token or a stop text came" in stopped.stdout
    longer = glassformer("ask", str(tmp_path / "stops"), "the cat", "--table", "--stop", "zzz")
    assert "5 tokens (greedy). The end: as many tokens as were asked for" in longer.stdout
    other = glassformer("ask", str(tmp_path / "model"), "the cat", "--temperature", "1")
    assert "temperature=0" not in other.stderr
    said = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert said["eos_token_id"] == [0, stop]


def test_an_answer_without_text_says_why(glassformer: Command, padded, tmp_path):
    model, tokenizer = load(padded)
    assert tokenizer is not None
    first = next(generate(model, tokenizer.encode("the cat"), max_new_tokens=1, temperature=0))
    model.folder_settings.generation.update(eos_token_id=first)
    save(model, tokenizer, tmp_path / "ends")
    ends = glassformer("ask", str(tmp_path / "ends"), "the cat", "--temperature", "0")
    assert ends.stdout == "the cat\n"
    assert "the answer is empty: the model's first token is " in ends.stderr
    assert "which ends a text" in ends.stderr
    seed = str(seed_without_a_token(padded))
    none = glassformer("ask", str(padded), "the cat", "--seed", seed, "--max-tokens", "1")
    assert none.stdout == "the cat\n"
    assert "the answer's 1 token has no text: the model has 400 ids" in none.stderr
    one = ["--seed", seed, "--max-tokens", "1"]
    as_json = glassformer("ask", str(padded), "the cat", *one, "--json")
    [token] = json.loads(as_json.stdout)["tokens"]
    assert token == {"id": token["id"], "token": f"<{token['id']}>"}
