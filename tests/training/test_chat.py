"""A model learns the assistant's part of conversations, and nothing else of them."""

import io
import itertools
import json
import sys
from pathlib import Path

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.interop.folder import load_folder
from glassformer.ops import IGNORED
from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from glassformer.text.corpus import Corpus
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import ChatData, for_chats, write_chats
from glassformer.training.run import read_description
from tests.server.clients import client_of
from tests.server.served import listening
from tests.training.small import weights_equal

COLORS = {"fig": "black", "kiwi": "green", "plum": "blue", "lime": "green", "rose": "red"}
SIZES = ["--n-ctx", "32", "--d-model", "64", "--n-layers", "2", "--batch-size", "8"]
LEARNING = [*SIZES, "--steps", "180", "--lr", "0.003"]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions after the color of a thing, two in each conversation."""
    rows = [
        [
            said("user", f"what is the {one}?"),
            said("assistant", f"it is {COLORS[one]}."),
            said("user", f"and the {two}?"),
            said("assistant", f"{COLORS[two]}."),
        ]
        for one, two in itertools.permutations(COLORS, 2)
    ]
    rows += [[said("user", "say nothing.")]]
    file = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    file.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return file


def data(chats: Path, folder: Path, n_ctx: int = 64) -> tuple[ChatData, Tokenizer]:
    corpus = Corpus(chats)
    colors = " ".join(f"{one} {color}" for one, color in COLORS.items())
    words = f"what is the ? it is . and user: assistant: say nothing {colors}"
    tokenizer = for_chats(Tokenizer.train("words", [words]))
    shard, notes = write_chats(folder, corpus, tokenizer, n_ctx)
    assert "20 conversations" in notes[0]
    assert "left out, since the assistant says nothing" in notes[-1]
    return ChatData(shard, seed=3), tokenizer


def test_only_what_the_assistant_says_is_asked_for_and_its_ends(chats, tmp_path):
    learned, tokenizer = data(chats, tmp_path)
    batch = learned.batch(0, 4)
    for ids, targets in zip(batch.ids, batch.targets, strict=True):
        asked = targets[targets != IGNORED].tolist()
        text = " ".join(map(tokenizer.token, asked))
        assert text.startswith("it is ")
        assert text.count("<eos>") == 2
        assert "what" not in text
        assert "user" not in text
        shifted = targets[:-1] != IGNORED
        assert torch.equal(targets[:-1][shifted], ids[1:][shifted])


def test_every_conversation_is_learned_once_in_a_pass_and_the_last_are_held_out(chats, tmp_path):
    learned, _ = data(chats, tmp_path)
    assert (learned.n_train, learned.n_validation) == (19, 1)
    rows = [tuple(row.tolist()) for n in range(19) for row in learned.batch(n, 1).ids]
    assert len({*rows}) == 19
    again = [tuple(row.tolist()) for n in range(19, 38) for row in learned.batch(n, 1).ids]
    assert {*again} == {*rows}
    assert again != rows
    (held_out,) = learned.held_out(8)
    assert tuple(held_out.ids[0].tolist()) not in rows


def test_chats_among_texts_are_refused_with_how_to_learn_them(chats, tmp_path):
    (tmp_path / "story.txt").write_text("the cat sat.")
    (tmp_path / "talk.jsonl").write_text(chats.read_text())
    with pytest.raises(GlassformerError, match=r"talk\.jsonl:1 has no field 'text'.*chats alone"):
        list(Corpus(tmp_path).texts())


def test_a_conversation_longer_than_the_context_is_cut_and_said(chats, tmp_path):
    corpus = Corpus(chats)
    tokenizer = for_chats(Tokenizer.train("chars", [chats.read_text()]))
    shard, notes = write_chats(tmp_path, corpus, tokenizer, n_ctx=50)
    assert any("cut at the context of 50 tokens" in note for note in notes)
    assert ChatData(shard, 0).batch(0, 8).ids.shape[1] <= 50
    with pytest.raises(GlassformerError, match=r"no conversation .* first 9 tokens: 21 conv"):
        write_chats(tmp_path, corpus, tokenizer, n_ctx=9)
    words = for_chats(Tokenizer.from_words(["what", "is"]))
    with pytest.raises(GlassformerError, match=r"chats\.jsonl:1: 'user' is not one of"):
        write_chats(tmp_path, corpus, words, n_ctx=50)


@pytest.fixture(scope="module")
def trained(chats: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    from glassformer.cli.app import app

    run = tmp_path_factory.mktemp("runs") / "chat"
    result = CliRunner().invoke(app, ["train", str(chats), "--out", str(run), *LEARNING])
    assert result.exit_code == 0, result.output
    assert f"glassformer ask {run} --chat" in result.output
    return run


def test_a_trained_chat_answers_and_remembers_what_was_said(glassformer, trained):
    greedy = ("--chat", "--temperature", "0")
    code, shown, _ = glassformer("ask", trained, "what is the plum?", *greedy)
    assert (code, shown.strip()) == (0, "it is blue.")
    with listening(create_app(Runs([str(trained)]))) as (port, _):
        chat = client_of(port).chat.completions.create(
            model="chat",
            temperature=0,
            messages=[
                {"role": "user", "content": "what is the plum?"},
                {"role": "assistant", "content": "it is blue."},
                {"role": "user", "content": "and the rose?"},
            ],
        )
    assert (chat.choices[0].message.content or "").strip() == "red."
    assert chat.choices[0].finish_reason == "stop"


def test_each_line_of_a_pipe_is_a_message_of_one_conversation(glassformer, trained, monkeypatch):
    greedy = ("ask", trained, "--chat", "--temperature", "0")
    monkeypatch.setattr("sys.stdin", io.StringIO("what is the plum?\n\nand the rose?\n"))
    code, shown, _ = glassformer(*greedy)
    assert (code, shown) == (0, "it is blue.\nred.\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("what is the plum?\nand the rose?"))
    _, shown, _ = glassformer(*greedy, "--json")
    printed = [json.loads(line) for line in shown.splitlines()]
    assert [one["text"] for one in printed] == ["it is blue.", "red."]
    assert len(printed[1]["prompt_tokens"]) > len(printed[0]["prompt_tokens"])
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    code, _, said = glassformer(*greedy)
    assert code == 2
    assert "no message was piped in" in said


def test_a_step_on_a_reply_asks_for_the_reply_alone(glassformer, trained):
    words = [trained, "what is the plum?", "--reply", "it is blue."]
    code, shown, _ = glassformer("step", *words, "--json")
    assert code == 0
    printed = json.loads(shown)
    targets = [one["target"]["token"] for one in printed["asked"]]
    assert targets == ["it", "is", "blue", ".", "<eos>"]
    assert printed["loss_before"] < 0.5
    code, _, shown = glassformer("step", *words, "--target", "blue")
    assert code == 2
    assert "--reply and --target both" in shown
    assert "--reply ''" in glassformer("step", *words[:3], "").stdout  # what explains it


def test_a_chat_that_was_stopped_is_resumed_to_the_same_weights(
    glassformer, chats, tmp_path, monkeypatch
):
    few = [*SIZES, "--steps", "6"]
    glassformer("train", chats, "--out", tmp_path / "straight", *few)
    stops = iter([False, False, True])
    monkeypatch.setattr("glassformer.cli.stopping.Stop.requested", lambda _: next(stops))
    glassformer("train", chats, "--out", tmp_path / "halves", *few)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", [])
    code, _, said = glassformer("train", "--out", tmp_path / "halves", "--resume")
    assert code == 0, said
    straight, halves = (load_folder(tmp_path / name)[0] for name in ("straight", "halves"))
    assert weights_equal(straight, halves)
    assert read_description(tmp_path / "halves").corpus["kind"] == "chat"
    (tmp_path / "halves/data").joinpath(
        json.loads((tmp_path / "halves/data/shard.json").read_text())["asked_file"]
    ).write_bytes(b"\1")
    code, _, said = glassformer("train", "--out", tmp_path / "halves", "--resume")
    assert code == 2
    assert "asked" in said


def test_a_model_without_a_template_says_that_it_does_not_chat(glassformer):
    code, _, said = glassformer("ask", "miniature", "the cat", "--chat")
    assert code == 2
    assert "no chat template" in said
