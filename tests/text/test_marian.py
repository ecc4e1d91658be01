"""Tokenizers of BERT and Marian, as their families have them, give the ids of transformers."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from transformers import BertTokenizer, MarianTokenizer

import glassformer as gf
from glassformer.errors import GlassformerError
from glassformer.text import translation
from glassformer.text.load import load_tokenizer

ODD = ["", " ", "Hé l'été — ça va ?", "日本語", "a\nb", "10 000 €", "e\u0301 İ ﬁ", "🐈", "  x  y "]


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """A thousand of both languages, and odd ones."""
    pairs = [*islice(translation.pairs("pieces"), 500)]
    return [*(text for p in pairs for text in (p.source, p.target)), *ODD]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Marian's own files: two models of SentencePiece and a vocabulary of both, in its own order.

    A piece of each is left out of the vocabulary, as in files whose corpus never had it.
    """
    folder = tmp_path_factory.mktemp("marian")
    pairs = [*islice(translation.pairs("training"), 2000)]
    pieces: dict[str, None] = {}
    for name, texts in (
        ("source", [pair.source for pair in pairs]),
        ("target", [pair.target for pair in pairs]),
    ):
        trainer: Any = sentencepiece.SentencePieceTrainer
        trainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(folder / name),
            vocab_size=150,
            minloglevel=2,
        )
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        model: Any = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        ordinary = [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
        pieces |= dict.fromkeys(ordinary[:40] + ordinary[41:])
    ordered = ["</s>", "<unk>", ">>fra<<", *sorted(pieces), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(ordered)}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "fr"})
    )
    return folder


@pytest.mark.filterwarnings("ignore:Recommended")  # punctuation by sacremoses
def test_marians_own_files_give_its_ids_and_texts(marian: Path, sentences: list[str], tmp_path):
    ours, theirs = load_tokenizer(marian), MarianTokenizer.from_pretrained(marian)
    for text in [*sentences, ">>fra<< the cat"]:
        ids = theirs(text)["input_ids"]
        assert ours.encode_source(text) == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), text
    assert (ours.eos_id, ours.pad_id) == (theirs.eos_token_id, theirs.pad_token_id)
    assert ours.unknown_words("the 🐈") == ["🐈"]
    ours.save(tmp_path / "again")
    for file in ("vocab.json", "source.spm", "target.spm"):
        assert (tmp_path / "again" / file).read_bytes() == (marian / file).read_bytes()
    again = MarianTokenizer.from_pretrained(tmp_path / "again")
    assert again("the black cat sleeps")["input_ids"] == ours.encode_source("the black cat sleeps")


def test_without_sentencepiece_marians_files_are_refused_with_the_cure(
    marian: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(GlassformerError, match=r"pip install 'glassformer\[marian\]'"):
        load_tokenizer(marian)


def test_a_real_word_piece_file_gives_berts_ids(sentences: list[str], tmp_path: Path):
    engine = tokenizers.BertWordPieceTokenizer(lowercase=True)
    engine.train_from_iterator(sentences * 2, vocab_size=300, show_progress=False)
    engine.save_model(str(tmp_path))
    theirs = BertTokenizer.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path)
    ours = gf.Tokenizer.load(tmp_path, blanks=True)
    assert any(word.startswith("##") for word in theirs.get_vocab())
    for text in [*sentences, "The [MASK] SLEEPS near the Écoles", "[CLS] one [SEP] two"]:
        assert ours.encode_prompt(text) == theirs(text)["input_ids"], text
    assert [ours.token(i) for i in ours.encode_prompt("L'ÉTÉ [MASK]")][-2:] == ["[MASK]", "[SEP]"]
    for text in sentences[:100]:
        ids = theirs(text)["input_ids"]
        expected = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert ours.decode(ids) == expected
