"""`glassformer tokenize`: tokens, ids and bytes; merges replayed; plain about wrong input."""

import io
import json
import re
import sys

import pytest

from glassformer.cli.app import load_verb
from glassformer.errors import GlassformerError
from glassformer.text.tokenizer import Tokenizer

STORY = "the banana bandana of the cat and the banana of the dog, an ant and a man. " * 20


@pytest.fixture
def tokenize(monkeypatch, capsys):
    """Run the verb in this process, which has imported torch already; return what it prints."""

    def run(*arguments: str, stdin: str = "") -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        load_verb("tokenize").main([*arguments], prog_name="tokenize", standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return str(path)


def words(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines()]


def test_tokens_ids_and_bytes_are_those_of_the_tokenizer(tokenize, tmp_path):
    tokenizer = Tokenizer.train("bpe", [STORY], vocab_size=300)
    tokenizer.save(tmp_path / "run")
    text = "the banana é"
    for path in (tmp_path / "run", tmp_path / "run" / "tokenizer.json"):
        shown = words(tokenize(text, "--tokenizer", str(path)))
        start = shown.index(["place", "token", "id", "bytes"]) + 1
        rows = shown[start : shown.index([], start)]
        assert [int(row[2]) for row in rows] == tokenizer.encode(text)
        assert (
            "".join(bytes.fromhex("".join(row[3:])).decode("latin1") for row in rows).encode(
                "latin1"
            )
            == text.encode()
        )
        assert [
            "12",
            "characters,",
            "13",
            "bytes",
            "in",
            "UTF-8:",
            str(len(rows)),
            "tokens",
        ] in shown


def test_json_holds_the_tokens_and_every_step(tokenize, story):
    options = ["--corpus", story, "--vocab-size", "300", "--trace", "--json"]
    data = json.loads(tokenize("banana", *options))
    tokenizer = Tokenizer.train("bpe", [STORY], vocab_size=300, trace=True)
    assert data["tokenizer"]["fingerprint"] == tokenizer.fingerprint
    assert [token["id"] for token in data["tokens"]] == tokenizer.encode("banana")
    assert [step["op"] for step in data["steps"]][:2] == ["split", "split"]
    assert [step["op"] for step in data["steps"]][2:-1] == ["merge"] * (len(data["steps"]) - 3)
    assert data["steps"][-1] == {
        "op": "look up",
        "word": 0,
        "pieces": [token["token"] for token in data["tokens"]],
        "merge": None,
        "considered": [],
        "ids": tokenizer.encode("banana"),
    }
    assert tokenizer.merges_learned is not None
    assert len(data["merges_learned"]) == len(tokenizer.merges_learned)
    assert data["merges_learned"][0]["count"] == tokenizer.merges_learned[0].count


def test_trace_shows_each_merge_with_its_rank_and_each_word_once(tokenize, story):
    options = ["--corpus", story, "--vocab-size", "280", "--trace"]
    result = tokenize("banana an an an", *options)
    shown = words(result)
    trace = Tokenizer.train("bpe", [STORY], vocab_size=280).trace("banana")
    merges = [step for step in trace.steps if step.merge]
    assert merges
    for step in merges:
        assert step.merge is not None
        row = [str(step.merge.rank), step.merge.left, "+", step.merge.right]
        assert any(line[: len(row)] == row for line in shown)
        assert " | ".join(step.pieces) in result
    assert result.count("␣an (3 times)") == 1


def test_words_outside_the_vocabulary_are_named(tokenize, story):
    result = tokenize("The wombat", "--corpus", story, "--kind", "words", "--lowercase")
    assert "not in the vocabulary, so they became <unk>: wombat" in result


def test_the_text_can_come_from_standard_input(tokenize, story):
    options = ["--corpus", story, "--kind", "chars", "--json"]
    data = json.loads(tokenize("-", *options, stdin="a cat\n"))
    assert [token["token"] for token in data["tokens"]] == [*"a cat", "<0x0A>"]


def test_the_empty_text_has_no_tokens(tokenize, story):
    assert "0 characters, 0 bytes in UTF-8: 0 tokens" in tokenize("", "--corpus", story)


def test_control_characters_do_not_reach_the_terminal(tokenize, story):
    result = tokenize("a\x1b[31m\u202eb", "--corpus", story, "--kind", "words", "--trace")
    assert "\x1b" not in result
    assert "\u202e" not in result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokenizer", "nowhere"], "there is no folder and no preset 'nowhere'"),
        (["--tokenizer", "gpt2"], "gpt2 is a preset: sizes with random weights and no tokenizer"),
        (["--tokenizer", "x", "--kind", "bpe"], "give one or the other"),
        (["--corpus", "nowhere.txt"], "there is no file or folder nowhere.txt"),
        (["--kind", "bep", "--corpus", "."], "Did you mean 'bpe'?"),
        (["--corpus", "STORY", "--vocab-size", "9"], "ask for 257 or more"),
        (["--corpus", "STORY", "--trace"], "one word of the text takes 800 merges"),
    ],
)
def test_wrong_input_is_answered_with_the_cause(tokenize, story, arguments, message):
    arguments = [story if argument == "STORY" else argument for argument in arguments]
    with pytest.raises(GlassformerError, match=re.escape(message)) as caught:
        tokenize("an" * 800 if "--trace" in arguments else "a cat", *arguments)
    assert "\n" not in str(caught.value)


def test_without_a_tokenizer_one_is_trained_on_storyland(tokenize):
    shown = tokenize("the dog sat", "--trace")
    assert shown.startswith("bpe tokenizer of 512 tokens, trained now on Storyland\n")
    assert "The merges that training learned, 12 of 255" in shown
    assert "11 characters, 11 bytes in UTF-8: " in shown


def test_a_run_or_a_preset_before_the_text_is_the_tokenizer(tokenize, tmp_path):
    assert tokenize("miniature", "the cat").startswith("words tokenizer of 8 tokens, miniature")
    Tokenizer.train("words", [STORY]).save(tmp_path)
    run = str(tmp_path)
    assert tokenize(run, "the cat") == tokenize("the cat", "--tokenizer", run)
    for words in ((run, "the", "cat"), (run, "the cat", "--tokenizer", run)):
        with pytest.raises(GlassformerError, match="put it in quotes"):
            tokenize(*words)


def test_fewer_tokens_than_asked_for_and_merges_left_out_are_said(tokenize, story):
    shown = tokenize("ant", "--corpus", story, "--vocab-size", "9000", "--trace")
    assert "9,000 tokens were asked for" in shown
    n = len(Tokenizer.train("bpe", [STORY], vocab_size=9000).content["model"]["merges"])
    assert f"learned, 12 of {n} (--all shows all)" in shown
    full = tokenize("ant", "--corpus", story, "--vocab-size", "9000", "--trace", "--all")
    assert "--all" not in full
    assert full.count("\n") == shown.count("\n") + n - 12
    shown = tokenize("ant", "--corpus", story, "--vocab-size", "258", "--trace")
    assert "learned, 12 of" not in shown
    assert "were asked for" not in shown


def test_help_gives_examples(tokenize):
    shown = tokenize("--help")
    assert "glassformer tokenize" in shown
    assert "--trace" in shown


def test_the_vocabulary_is_listed_the_alphabet_first_and_the_bytes_folded(tokenize, tmp_path):
    story = tmp_path / "story.txt"
    story.write_text("The cat sat.")
    shown = tokenize("cat", "--kind", "chars", "--corpus", str(story), "--vocabulary")
    listed = shown[shown.index("The vocabulary") : shown.index("── Tokens")]
    assert "The vocabulary: 9 characters" in listed
    rows = listed.partition("\n")[2]
    assert re.findall(r"(\S) \d+", rows)[:9] == list("␣.Tacehst")
    assert "<0x" not in listed
    assert "and 256 bytes, ids 1 to 256" in listed
