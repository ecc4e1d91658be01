"""Tokenizers of every kind that families have give the ids and texts that transformers gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from glassformer.generation.stream import TextStream
from glassformer.interop.open import load
from glassformer.text.tokenizer import Tokenizer
from tests.command_line import Command
from tests.command_line import columns as columns
from tests.command_line import glassformer as glassformer
from tests.parity.families import SHARED, their_model
from tests.text.kinds import KINDS, write

PIECES = [
    *("the cat", " sat", "It's", "isn't", " DON'T", "x=10", "2026", " 1234567", "def f(x):"),
    *(" ", "  ", "     ", "\n", "\n\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x00"),
    *("日本語の猫", "é", "e\u0301", "naïve", "Привет", "שלום", "ﷺ", "ﬁ", "İ", "ß"),
    *("🐈", "👩‍👩‍👧", "🏳️‍🌈", "\U0010ffff", "\ufeff", "\ufffd", "▁", "▁▁a", "Ġ", "<0x41>", "<unk>"),
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<tool_call>", "<think>", "<|end|> ", "<bos>"),
    *("</s2>  ", "<start_of_turn>user\n", "<|endoftext|>", "<|begin_of_text|>", "...", "!?", "。"),
]
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
texts = st.lists(st.sampled_from(PIECES) | letters, max_size=8).map("".join)


class Both:
    """A folder's tokenizer here and there."""

    def __init__(self, kind: str, folder: Path) -> None:
        write(kind, folder)
        self.ours = Tokenizer.load(folder)
        self.theirs: Any = AutoTokenizer.from_pretrained(folder)

    def their_ids(self, text: str, begins: bool = False) -> list[int]:
        """As text: the letters of a special token are letters."""
        theirs = self.theirs(text, add_special_tokens=begins, split_special_tokens=True)
        return theirs["input_ids"]

    def their_text(self, ids: list[int]) -> str:
        return self.theirs.decode(ids, skip_special_tokens=True)


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(request.param, tmp_path_factory.mktemp("kind") / "model")


@settings(max_examples=12)
@given(texts)
@example("".join(PIECES))
def test_ids_texts_and_traces_are_those_of_transformers(both, text):
    ids = both.ours.encode(text)
    assert ids == both.their_ids(text)
    assert both.ours.encode_prompt(text) == both.their_ids(text, begins=True)
    assert both.ours.decode(ids) == both.their_text(ids)
    assert both.ours.trace(text).ids == ids


@settings(max_examples=12)
@given(texts, texts)
@example("the", " cat 🐈 日本語の猫\n\n")
def test_a_streamed_text_is_the_text_that_transformers_decodes(both, prompt, answer):
    before, after = both.ours.encode_prompt(prompt), both.ours.encode(answer)
    stream = TextStream(both.ours, before)
    pieces = [stream.push(token) for token in after]
    full = both.their_text([*before, *after])
    begin = both.their_text(before)
    if full.startswith(begin):  # else the prompt ended in half a character
        assert "".join([*pieces, stream.finish()]) == full.removeprefix(begin)


@settings(max_examples=12)
@given(st.lists(st.integers(0, 350), max_size=12))
def test_any_ids_have_the_text_that_transformers_gives(both, ids):
    ids = [i for i in ids if i < both.ours.vocab_size]
    here, theirs = both.ours.decode(ids), both.their_text(ids)
    if "\ufffd" not in here:  # there a broken byte takes whole characters beside it along
        assert here == theirs


def test_a_saved_tokenizer_is_the_same_there(both, tmp_path):
    both.ours.save(tmp_path)
    again: Any = AutoTokenizer.from_pretrained(tmp_path)
    text = "".join(PIECES)
    for split in (True, False):
        ids = [t(text, split_special_tokens=split)["input_ids"] for t in (again, both.theirs)]
        assert ids[0] == ids[1]
    assert again.all_special_tokens == both.theirs.all_special_tokens


CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
MESSAGES = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]


@pytest.mark.parametrize("where", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_chat_template_is_kept_through_saving_training_and_export(
    where, glassformer: Command, tmp_path
):
    folder = tmp_path / "model"
    inside = where == "tokenizer_config.json"
    said = {"add_prefix_space": False, **({"chat_template": CHAT} if inside else {})}
    their_model("qwen3", {**SHARED, "vocab_size": 400}).save_pretrained(folder)
    write("qwen2, qwen3", folder, **said)
    if not inside:
        (folder / where).write_text(CHAT)
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 40)
    train = ["train", tmp_path / "text.txt", "--from", folder, "--out", tmp_path / "run"]
    for command in (
        [*train, "--steps", 1],
        ["export", folder, tmp_path / "out"],
        ["export", tmp_path / "run", tmp_path / "of_run"],
    ):
        ended = glassformer(*command)
        assert ended.code == 0, ended.stderr
    assert load(folder)[1] is not None
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    expected = theirs.apply_chat_template(MESSAGES, tokenize=False)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("out", "run", "of_run"):
        written = json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        assert {**config, **written} == {**written}, name  # nothing is lost
        again: Any = AutoTokenizer.from_pretrained(tmp_path / name)
        assert again.apply_chat_template(MESSAGES, tokenize=False) == expected
        if not inside:
            assert again.chat_template["tools"] == "{{ tools }}"
