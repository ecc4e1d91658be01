"""Bulk encoding gives the ids of the tokenizer's own engine, whatever the text."""

import json
import socket

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import GlassformerError
from glassformer.text.bulk import bulk
from glassformer.text.codec import BULK_CHARACTERS
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer

TEXT = (
    "The cat's mat isn't where they'll look; we've 1,234 reasons.\n\n  Über naïve Straße, 東京 is"
    " far — “quite” far…\tIt is 10°C, 👩‍👩‍👧‍👦 or 🏳️‍🌈?\r\n"
)
TOKENIZER = Tokenizer.train(
    "bpe", [TEXT * 3, "aaaa aa a " * 20, "    \n\n\n   \t" * 9], vocab_size=420
)
BULK = bulk(TOKENIZER.engine, TOKENIZER.content)

ADVERSARIAL = {
    "one letter": "a" * 100_000,
    "spaces": " " * 100_000,
    "spaces before a word": " " * 100_000 + "x",
    "newlines": "\n" * 100_000 + "x",
    "mixed white space": " \n\t\r\x0b\x0c\x85\xa0\u2003\u2028" * 5_000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🇨🇭" * 3_000,
    "control characters": "".join(map(chr, range(1, 32))) * 300 + "\x00\x7f\u200b\ufeff",
    "apostrophes": "'s't're've'm'll'd 'S ’s ''" * 500,
    "punctuation": "!" * 100_000,
    "digits": "0123456789 " * 5_000 + "½²٣",
    "the separator's name": "<eos> a<eos>",
    "combining marks": "e\u0301" * 5_000,
    "nothing": "",
}


def encoded(text: str) -> list[int]:
    assert BULK is not None
    return BULK.encode([text])[0].tolist()


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_texts_have_the_same_ids(name):
    assert encoded(ADVERSARIAL[name]) == TOKENIZER.encode(ADVERSARIAL[name])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_has_the_same_ids(text):
    assert encoded(text) == TOKENIZER.encode(text)


@given(
    st.lists(st.sampled_from(["a", "aa", " ", "\n", "th", "e", "'s", "1", "…", "é"]), max_size=50)
)
def test_any_sequence_of_what_merges_has_the_same_ids(parts):
    assert encoded("".join(parts)) == TOKENIZER.encode("".join(parts))


@pytest.mark.heavy
def test_every_character_there_is_splits_alike():
    for start in range(0, 0x110000, 4096):
        chars = (chr(i) for i in range(start, start + 4096) if not 0xD800 <= i < 0xE000)
        text = "".join(f"a{c}1{c} {c}!{c}\n" for c in chars)
        assert encoded(text) == TOKENIZER.encode(text), hex(start)


@pytest.mark.heavy
def test_a_run_of_spaces_beyond_its_splitter_goes_to_the_engine():
    text = " " * 3_000_000 + "x"
    assert BULK is not None
    with pytest.raises(ValueError, match="stack"):
        BULK.encode([text])
    assert TOKENIZER.encode_arrays([text])[0].tolist() == TOKENIZER.encode(text)


def test_a_lone_surrogate_is_refused_in_bulk_too():
    with pytest.raises(GlassformerError, match="lone surrogate"):
        TOKENIZER.encode_arrays(["a" * BULK_CHARACTERS + "\ud800"])


def test_a_large_shard_holds_the_ids_of_the_engine_and_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    documents = [TEXT * 900, "a few words", TEXT * 1200]
    shard = write_shard(tmp_path, documents, TOKENIZER)
    eos = [TOKENIZER.eos_id]
    expected = eos + [i for text in documents for i in [*TOKENIZER.encode(text), *eos]]
    assert sum(map(len, documents)) > BULK_CHARACTERS
    np.testing.assert_array_equal(shard.tokens, expected)
    assert shard.documents.tolist()[0] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}},
    ],
)
def test_a_tokenizer_that_does_more_keeps_its_own_engine(change):
    content = {**TOKENIZER.content, **change}
    engine = tokenizers.Tokenizer.from_str(json.dumps(content))
    assert bulk(engine, json.loads(engine.to_str())) is None


def test_merges_that_tiktoken_would_read_otherwise_keep_their_own_engine():
    content = json.loads(json.dumps(TOKENIZER.content))
    model = content["model"]
    model["merges"] = [model["merges"][1], model["merges"][0], *model["merges"][2:]]
    engine = tokenizers.Tokenizer.from_str(json.dumps(content))
    assert bulk(engine, json.loads(engine.to_str())) is None


@pytest.mark.parametrize("kind", ["chars", "words"])
def test_other_kinds_of_tokenizers_have_no_bulk(kind):
    tokenizer = Tokenizer.train(kind, TEXT)
    assert bulk(tokenizer.engine, tokenizer.content) is None
