"""`glassformer export`: what is written beside the model, and what is refused, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from glassformer.cli.export import command
from glassformer.cli.training import to_others
from glassformer.errors import GlassformerError
from glassformer.interop.folder import save
from glassformer.interop.open import config_of
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.card import card
from glassformer.training.choices import Choices
from glassformer.training.prepare import new_run
from glassformer.training.run import load_run
from tests.interop.models import random_ids, random_model
from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)
from tests.readers.exported import exported

TINY = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_ctx": 72}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on Storyland that was measured once."""
    folder = tmp_path_factory.mktemp("runs") / "story"
    choices = Choices(preset="storyland", model=TINY, recipe={"steps": 3})
    prepared = new_run(folder, choices)
    with prepared.run as opened:
        opened.record({"step": 3, "val_loss": 2.5})
    return folder


def refused(run: object, out: Path, to: str = "hf") -> str:
    """What the command says when it refuses; nothing may be written then."""
    before = sorted(out.rglob("*")) if out.exists() else None
    with pytest.raises(GlassformerError) as raised:
        command(str(run), out, to)
    assert before == (sorted(out.rglob("*")) if out.exists() else None)
    return str(raised.value)


def test_the_card_says_data_recipe_loss_floor_and_how_to_cite(run, tmp_path, capsys):
    command(str(run), tmp_path / "story")
    text = (tmp_path / "story" / "README.md").read_text()
    floor = load_run(run).description.corpus["floor"]
    assert text.startswith("---\nlibrary_name: transformers\n")
    for part in (
        "# `story`",
        "Storyland",
        "| optimizer | muon |",
        "| seed | 0 |",
        "2.5000 nats per token on held-out text after step 3",
        f"No model can be below {floor:.4f}",
        f"{2.5 - floor:.4f} are left",
        "@software{glassformer,",
    ):
        assert part in text
    assert "its tokenizer and a card" in capsys.readouterr().out


def test_nothing_of_the_run_but_the_model_goes_along(run, tmp_path):
    command(str(run), tmp_path / "story")
    size = sum(path.stat().st_size for path in (tmp_path / "story").iterdir())
    model = (run / "model.safetensors").stat().st_size
    assert size < 2 * model + 20_000
    assert config_of(tmp_path / "story") == config_of(run)


def test_a_card_names_texts_and_not_where_they_lie(tmp_path):
    text = tmp_path / "private" / "my`story.txt"
    text.parent.mkdir()
    text.write_text("the cat sat on the mat. " * 200)
    prepared = new_run(tmp_path / "run", Choices(texts=(str(text),), recipe={"steps": 1}))
    prepared.run.close()
    said = card("x", prepared.model, load_run(tmp_path / "run"))
    assert "`my story.txt`" in said
    assert "private" not in said
    assert "Not measured." in said


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "a file").write_text("mine")
    assert "is not empty; name a new folder" in refused(run, tmp_path)
    assert "is a file; name a new folder" in refused(run, tmp_path / "a file")


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    save(Decoder(Config(vocab_size=9, n_ctx=4, d_model=4, n_layers=1, n_heads=1)), None, tmp_path)
    assert "has no tokenizer" in refused(tmp_path, tmp_path / "out")


def test_the_field_that_no_family_has_is_named(tmp_path):
    tokenizer = Tokenizer.from_words(["the", "cat"])
    sizes = {"vocab_size": 2, "n_ctx": 4, "d_model": 4, "n_layers": 1, "n_heads": 1}
    save(Decoder(Config.from_dict({**sizes, "qk_norm": True})), tokenizer, tmp_path / "run")
    said = refused(tmp_path / "run", tmp_path / "out")
    assert "together; the nearest, gpt2, lacks qk_norm=True" in said
    assert "\n" not in said


def test_the_demo_and_the_recipe_fast_are_families_exactly(tmp_path):
    tokenizer = Tokenizer.train("chars", ["the cat sat on the mat"])
    for preset, family in (("storyland", "apertus"), ("fast", "arcee")):
        config = Config.preset(preset).replace(vocab_size=tokenizer.vocab_size)
        model = random_model(config)
        save(model, tokenizer, tmp_path / preset)
        command(str(tmp_path / preset), tmp_path / family)
        opened = AutoModelForCausalLM.from_pretrained(tmp_path / family)
        assert opened.config.model_type == family
        ids = random_ids(config)
        with torch.no_grad():
            ours, theirs = model(ids), opened(ids).logits
        # float32, the same sums in another order
        assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max()


def test_train_says_at_its_end_who_reads_the_model(tmp_path):
    fast = Decoder(Config.preset("fast"))
    assert "export runs/fast fast-arcee" in to_others(fast, Path("runs/fast"))
    ours_alone = Decoder(Config.preset("fast").replace(tied=True))
    assert to_others(ours_alone, tmp_path).startswith(
        "only Glassformer reads it: no family of models has"
    )


def test_another_form_is_refused_by_its_name(run, tmp_path):
    assert "--to 'onnx' is none of hf, gguf." in refused(run, tmp_path / "out", "onnx")


def test_what_has_no_form_in_gguf_is_named(run, tmp_path):
    assert "of the family apertus can't be written as GGUF" in refused(
        run, tmp_path / "out", "gguf"
    )
    tokenizer = Tokenizer.train("words", ["the cat"])
    sizes = {"n_ctx": 4, "d_model": 4, "n_layers": 1, "n_heads": 1}
    model = Decoder(Config.from_dict({"vocab_size": tokenizer.vocab_size, **sizes}))
    save(model, tokenizer, tmp_path / "words")
    said = refused(tmp_path / "words", tmp_path / "out", "gguf")
    assert "the tokenizer is of words and has no form in GGUF" in said


def test_a_tokenizer_that_splits_in_another_way_has_no_gguf(tmp_path):
    model = exported(tmp_path / "first", "gpt2")
    content = json.loads((tmp_path / "first" / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Whitespace"}
    (tmp_path / "first" / "tokenizer.json").write_text(json.dumps(content))
    assert "does not split a text as GPT-2's does" in refused(
        tmp_path / "first", tmp_path / "out", "gguf"
    )
    assert isinstance(model.tokenizer, Tokenizer)
