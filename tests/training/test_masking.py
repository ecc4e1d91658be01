"""Masked training: what is hidden, a run that is a BERT, its answers beside what can be known."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer import Encoder, GlassformerError, load
from glassformer.generation.blanks import fill_blanks
from glassformer.generation.generate import generate
from glassformer.text import storyland
from glassformer.text.blocks import IGNORED
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.blanks import measure_blanks
from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.masking import Frame
from glassformer.training.prepare import new_run, resumed_run
from tests.command_line import Command

SMALL = Choices(
    preset="masked",
    model={"d_model": 16, "n_heads": 2},
    recipe={"steps": 6, "batch_size": 8, "eval_every": 3, "save_every": 3, "warmup_steps": 2},
    device="cpu",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of six steps, not interrupted."""
    folder = tmp_path_factory.mktemp("masked") / "run"
    with (prepared := new_run(folder, SMALL)).run as run:
        train(prepared.model, prepared.data, prepared.recipe, run=run)
    return folder


def opened(folder: Path) -> tuple[Any, Any]:
    """A run's model and its tokenizer, which it has."""
    return load(folder)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.of_masked_words(["the quick brown fox jumps over the lazy dog ."])


def test_hidden_tokens_are_as_in_the_paper(tokenizer):
    """30% of them: 8 of 10 as [MASK], 1 as any word, 1 as it is; the rest is not asked for."""
    frame = Frame(tokenizer)
    texts = [[*range(5, 14)] * 10] * 400  # 90 tokens each
    batch = frame.masked(texts, seed=1, number=2)
    asked = batch.targets != IGNORED
    assert asked.sum().item() == 400 * round(0.3 * 90)
    shown, targets = batch.ids[asked], batch.targets[asked]
    masked = (shown == frame.mask_id).float().mean().item()
    same = (shown == targets).float().mean().item()
    n = len(targets)
    # 4 standard deviations of a share of n; one word in nine of "any word" is the same again
    assert masked == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / n))
    assert same == pytest.approx(0.1 + 0.1 / 9, abs=4 * math.sqrt(0.1 / n))
    kept = frame.masked([[5, 6, 7]], 1, 0)
    plain = torch.tensor([[2, 5, 6, 7, 3]])
    assert torch.equal(torch.where(kept.targets == IGNORED, kept.ids, kept.targets), plain)


def test_what_is_hidden_follows_from_seed_and_number(tokenizer):
    frame = Frame(tokenizer)
    texts = [[*range(5, 14)] * 5] * 4
    one, again = (frame.masked(texts, 3, 7) for _ in range(2))
    assert torch.equal(one.ids, again.ids)
    assert torch.equal(one.targets, again.targets)
    assert not torch.equal(one.ids, frame.masked(texts, 3, 8).ids)
    assert not torch.equal(one.ids, frame.masked(texts, 4, 7).ids)


def test_rows_are_framed_and_padding_is_neither_seen_nor_asked(tokenizer):
    batch = Frame(tokenizer).masked([[5, 6, 7], [8]], 0, 0)
    pad, first, last = (tokenizer.id(name) for name in ("[PAD]", "[CLS]", "[SEP]"))
    assert batch.ids[:, 0].tolist() == [first, first]
    assert batch.ids[1, 2:].tolist() == [last, pad, pad]
    assert batch.extra["seen"][1].tolist() == [True, True, True, False, False]
    assert (batch.targets[:, 0] == IGNORED).all()
    assert (batch.targets[1, 2:] == IGNORED).all()
    assert batch.n_asked == 2  # at least one of every text


def test_a_tokenizer_without_a_mask_token_is_refused():
    with pytest.raises(GlassformerError, match="has no mask token; add one"):
        Frame(Tokenizer.train("words", ["the cat"]))


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(folder, tmp_path):
    with (prepared := new_run(tmp_path / "run", SMALL)).run as run:
        stops = iter([False] * 4 + [True])
        outcome = train(
            prepared.model, prepared.data, prepared.recipe, run=run, should_stop=lambda: next(stops)
        )
        assert (outcome.reason, outcome.step) == ("stopped", 4)
    with (again := resumed_run(tmp_path / "run", "cpu")).run as run:
        train(again.model, again.data, again.recipe, run=run)
    straight, resumed = load(folder)[0].state_dict(), load(tmp_path / "run")[0].state_dict()
    assert all(torch.equal(straight[name], weight) for name, weight in resumed.items())


def test_the_run_is_a_modernbert_that_transformers_opens_and_agrees_with(folder):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "modernbert"
    assert (config["cls_token_id"], config["sep_token_id"]) == (2, 3)
    theirs = AutoModelForMaskedLM.from_pretrained(folder).eval()
    words = AutoTokenizer.from_pretrained(folder)
    ours, tokenizer = opened(folder)
    assert isinstance(ours, Encoder)
    text = "the [MASK] sat on the mat."
    ids = tokenizer.encode_prompt(text)
    assert words(text)["input_ids"] == ids
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits
    torch.testing.assert_close(ours(torch.tensor([ids])), expected, rtol=1e-4, atol=1e-4)


def test_blanks_are_filled_each_with_probabilities(folder):
    model, tokenizer = opened(folder)
    blanks = fill_blanks(model, tokenizer, tokenizer.encode_prompt("[MASK] cat [MASK]"), n=500)
    assert [blank.pos for blank in blanks] == [1, 3]
    for blank in blanks:
        assert sum(p for _, p in blank.best) == pytest.approx(1, abs=1e-5)
        assert blank.best == sorted(blank.best, key=lambda one: -one[1])
    with pytest.raises(GlassformerError, match="the text has no blank"):
        fill_blanks(model, tokenizer, tokenizer.encode_prompt("the cat"))
    with pytest.raises(GlassformerError, match="does not go on with a text"):
        generate(model, tokenizer.encode_prompt("the cat"), max_new_tokens=1)


def test_what_a_blank_of_storyland_can_hold_is_known_exactly():
    """p(word | the rest), against the document's own probability among all its variants."""
    text = next(storyland.documents("x")).text
    begin = text.index("rabbit")
    animals = ["rabbit", "dog", "cat", "moon"]
    known = storyland.in_place(text, begin, begin + len("rabbit"), animals)
    assert sum(known.values()) == pytest.approx(1)
    assert "moon" not in known
    assert known["rabbit"] > 0.99  # it is named again, later


@pytest.mark.heavy
def test_eval_says_loss_and_hits_beside_what_can_be_known(glassformer: Command, folder):
    ended = glassformer("eval", folder, "--storyland", "--json")
    assert ended.code == 0, ended.stderr
    printed = json.loads(ended.stdout)
    assert 0 < printed["floor"] < printed["loss"]
    assert printed["right"] <= printed["right_at_best"] <= 1
    assert printed["blanks"] == 200
    model, tokenizer = opened(folder)
    assert measure_blanks(model, tokenizer, 20).score.n == 20
    assert tokenizer.unknown_words("the [MASK] sat <mask>") == []


def test_it_is_trained_further_from_a_folder(glassformer: Command, folder, tmp_path):
    (text := tmp_path / "text.txt").write_text("the cat sat on the mat. the dog ran home. " * 40)
    more = ("--from", folder, "--out", tmp_path / "more", "--steps", 3)
    assert glassformer("train", text, *more).code == 0
    answer = glassformer("ask", tmp_path / "more", "the [MASK] sat", "--json")
    assert [blank["pos"] for blank in json.loads(answer.stdout)["blanks"]] == [2]
