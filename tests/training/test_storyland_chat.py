"""Conversations about little stories: each answer is what the story says; the floor is exact."""

from __future__ import annotations

import math
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.model import Config, Decoder, load_preset
from glassformer.text.storyland.chats import BASES, Chat, Reply, chats
from glassformer.text.storyland.grammar import DID
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import ChatData
from glassformer.training.choices import Choices
from glassformer.training.prepare import new_run
from glassformer.training.storyland_chat import (
    FEWEST_CHATS,
    chat_tokenizer,
    measure_chats,
    rendered_chat,
)

SAMPLE = [*islice(chats("test"), 400)]
PAST = {base: past for past, base in BASES.items()}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return chat_tokenizer()


class Reader:
    """Answers from the story's sentences alone, by another way than they were written."""

    def __init__(self, story: str) -> None:
        self.coat, self.owner, self.pet, self.deed = {}, {}, {}, {}
        self.home, self.treat = {}, {}
        for one in re.findall(r"[^.]+\.", story):
            sentence = one.strip().rstrip(".")
            if match := re.fullmatch(r"(\w+) has a (\w+) (\w+)", sentence):
                self.owner[match[3]], self.coat[match[3]] = match[1], match[2]
            elif match := re.fullmatch(r"(\w+) is a (\w+) (\w+)", sentence):
                self.pet[match[3]], self.coat[match[3]] = match[1], match[2]
            elif match := re.fullmatch(r"(\w+) lives (.+) and loves (\w+)", sentence):
                self.home[match[1]], self.treat[match[1]] = match[2], match[3]
            elif match := re.fullmatch(r"The (\w+) (.+)", sentence):
                self.deed[match[1]] = match[2]
        self.about, self.kind = "", ""

    def words(self, question: str) -> str:
        """The few words of the answer."""
        named = {pet: animal for animal, pet in self.pet.items()}
        if match := re.fullmatch(r"And the (\w+)\?", question):
            question = self.kind.format(f"the {match[1]}")
        question = re.sub(r"\bit\b", f"the {self.about}", question, count=1)
        if match := re.fullmatch(r"What colour is (?:the )?(\w+)\?", question):
            self.about, self.kind = named.get(match[1], match[1]), "What colour is {}?"
            return self.coat.get(self.about, "")
        if match := re.fullmatch(r"What did the (\w+) do\?", question):
            self.about, self.kind = match[1], "What did {} do?"
            deed = self.deed.get(self.about)
            return f"it {deed}" if deed else ""
        if match := re.fullmatch(r"Did the (\w+) (\w+) (.+)\?", question):
            self.about = match[1]
            return "yes" if self.deed[self.about] == f"{PAST[match[2]]} {match[3]}" else "no"
        if match := re.fullmatch(r"Is the (\w+) (\w+)\?", question):
            self.about = match[1]
            return "yes" if self.coat[self.about] == match[2] else "no"
        if match := re.fullmatch(r"Who has the (\w+)\?", question):
            self.about = match[1]
            return self.owner.get(self.about, "")
        if match := re.fullmatch(r"What is the (\w+) called\?", question):
            self.about = match[1]
            return self.pet.get(self.about, "")
        if match := re.fullmatch(r"(?:Where does|What does) (\w+) (live|love)\?", question):
            self.about = named[match[1]]
            return (self.home if match[2] == "live" else self.treat)[match[1]]
        deed = re.fullmatch(r"Who (.+)\?", question)
        assert deed, question
        self.about = next(animal for animal, done in self.deed.items() if done == deed[1])
        return f"the {self.about}"


def story_of(chat: Chat) -> str:
    """Its first message that tells something, without the question."""
    first = next(prompt for prompt in chat.prompts if prompt != "Hello.")
    return first[: first.rfind(".") + 1]


def test_every_reply_is_what_the_story_says():
    kinds = set()
    for chat in SAMPLE:
        story = story_of(chat)
        reader = Reader(story)
        for prompt, reply in zip(chat.prompts, chat.replies, strict=True):
            kinds.add(reply.kind)
            if reply.kind == "manners":
                continue
            expected = reader.words(prompt.removeprefix(story).strip())
            shorter = reply.forms[1].rstrip(".").lower()
            longer = reply.forms[0].lower()
            if reply.kind == "not said":
                assert expected == "", prompt
                assert shorter == "i do not know"
            else:
                assert shorter == expected.lower(), prompt
                known = expected.lower() if expected not in ("yes", "no") else expected
                assert known.removeprefix("it ") in longer
    assert len(kinds) == 11


def test_both_forms_are_as_probable_and_a_seed_decides_all():
    assert [*islice(chats("test"), 20)] == SAMPLE[:20]
    assert [*islice(chats("other"), 20)] != SAMPLE[:20]
    replies = [reply for chat in SAMPLE for reply in chat.replies]
    short = sum(reply.text == reply.forms[1] for reply in replies)
    assert abs(short / len(replies) - 0.5) < 4 * 0.5 / math.sqrt(len(replies))  # four deviations
    assert {past.partition(" ")[0] for did in DID.values() for past in did} == {*BASES}


def test_all_words_are_known_and_a_conversation_fits(tokenizer):
    model = load_preset("chat")["model"]
    assert tokenizer.vocab_size == model["vocab_size"]
    lengths = []
    for chat in SAMPLE:
        assert not any(tokenizer.unknown_words(m["content"]) for m in chat.messages)
        lengths.append(len(rendered_chat(tokenizer, chat.messages).ids))
    assert max(lengths) <= model["n_ctx"]


class Knowing(Decoder):
    """Is sure of each next token that it is shown, and of the end after the last."""

    def __init__(self, tokenizer: Tokenizer, wrong: bool = False, n_ctx: int = 200) -> None:
        size = tokenizer.vocab_size
        super().__init__(Config(vocab_size=size, n_ctx=n_ctx, d_model=2, n_layers=1, n_heads=1))
        self.wrong = wrong
        assert tokenizer.eos_id == 0, "what fills a row up is the end of the one that is filled"

    def forward(self, ids: Any, *_: Any, **__: Any) -> torch.Tensor:
        following = torch.zeros_like(ids)
        following[:, :-1] = ids[:, 1:]
        chosen = (following + self.wrong) % self.config.vocab_size
        return torch.nn.functional.one_hot(chosen, self.config.vocab_size).float() * 30


def test_a_right_reply_is_counted_as_one_and_a_wrong_one_is_not(tokenizer):
    alone = measure_chats(Knowing(tokenizer), tokenizer, n=1)
    assert alone.accuracy == 1
    assert alone.loss < 1e-3
    assert measure_chats(Knowing(tokenizer, wrong=True), tokenizer, n=3).accuracy == 0


def test_the_preset_writes_its_conversations_and_knows_their_floor(tmp_path: Path):
    recipe = {"steps": 1, "batch_size": 4}
    prepared = new_run(tmp_path / "run", Choices(preset="chat", recipe=recipe))
    prepared.run.close()
    data = prepared.data
    assert isinstance(data, ChatData)
    held_out = [*islice(chats(f"held out {prepared.recipe.seed}"), data.n_validation)]
    assert data.n_train + data.n_validation == FEWEST_CHATS
    asked = sum(batch.n_asked for batch in data.held_out(8))
    n_replies = sum(len(chat.replies) for chat in held_out)
    assert data.floor is not None
    assert math.isclose(data.floor, math.log(2) * n_replies / asked)
    first = next(iter(data.held_out(1)))
    ids, said = rendered_chat(prepared.run.tokenizer, held_out[0].messages)
    assert first.ids[0].tolist() == ids[:-1].tolist()
    assert (first.targets[0] >= 0).tolist() == said[1:].tolist()


def test_a_model_that_reads_less_is_told_which_preset_has_room(tokenizer):
    short = Knowing(tokenizer, n_ctx=20)
    with pytest.raises(GlassformerError, match="--preset chat"):
        measure_chats(short, tokenizer, n=2)


def test_the_forms_of_a_reply_are_the_sentence_and_the_few_words():
    assert Reply("Yes.", "Yes, it is grey.", "is it").forms == ("Yes, it is grey.", "Yes.")
