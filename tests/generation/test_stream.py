"""Streaming: every piece is final, no character comes in halves, and a stop text is never shown."""

import random

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate
from glassformer.generation.stream import CONTEXT, WINDOW, TextStream, stream_text
from glassformer.model import Config
from glassformer.text.tokenizer import Tokenizer
from tests.examples import examples
from tests.generation.models import speaking

CORPUS = ["the cat sat on the mat, and the dog sat on the cat. 日本 é 🐈 " * 4]
BPE = Tokenizer.train("bpe", CORPUS, vocab_size=300)
WORDS = Tokenizer.train("words", CORPUS)
CHARS = Tokenizer.train("chars", ["abc at the"])


def sentence_pieces() -> Tokenizer:
    """A tokenizer as Llama has it: ▁ for a space, bytes for unseen characters."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "t"]
    vocab = {name: index for index, name in enumerate(names)}
    engine = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    engine.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    engine.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return Tokenizer(engine)


PIECES = sentence_pieces()


def pieces(tokenizer: Tokenizer, ids: list[int], prompt: str = "", stop: tuple[str, ...] = ()):
    stream = TextStream(tokenizer, tokenizer.encode(prompt), stop)
    return [*(stream.push(token) for token in ids), stream.finish()], stream


@given(st.text(), st.text(alphabet="the cat", max_size=5))
def test_the_pieces_of_a_text_are_the_text(text, prompt):
    got, _ = pieces(BPE, BPE.encode(text), prompt)
    assert "".join(got) == text


@given(st.text(min_size=1))
def test_no_piece_holds_half_a_character(text):
    text = text.replace("\ufffd", "")
    got, _ = pieces(BPE, BPE.encode(text))
    assert not any("\ufffd" in piece for piece in got)


@pytest.mark.parametrize("tokenizer", [BPE, CHARS, PIECES], ids=["bpe", "chars", "SentencePiece"])
@examples(40)
@given(raw=st.lists(st.sampled_from([*"日é🐈 at".encode(), 0x80, 0xE2, 0xFF, 0xF0]), max_size=20))
def test_of_any_bytes_the_pieces_are_what_utf_8_says(tokenizer, raw):
    said = bytes(raw).decode("utf-8", "replace")  # Python's own decoder
    ids = [
        tokenizer.id(f"<0x{byte:02X}>") if byte > 127 else tokenizer.id(chr(byte)) for byte in raw
    ]
    got, _ = pieces(tokenizer, ids)
    assert "".join(got) == tokenizer.decode(ids)
    assert tokenizer.decode(ids) == (said.removeprefix(" ") if tokenizer is PIECES else said)


def test_a_character_that_began_in_the_prompt_comes_whole():
    first, *others = [CHARS.id(f"<0x{byte:02X}>") for byte in "日".encode()]
    stream = TextStream(CHARS, [CHARS.id("a"), first])
    assert [stream.push(token) for token in others] == ["", "日"]


@given(st.lists(st.integers(0, WORDS.vocab_size - 1), max_size=12), st.booleans())
def test_words_come_with_the_spaces_between_them(ids, prompted):
    prompt = "the cat" if prompted else ""
    got, _ = pieces(WORDS, ids, prompt)
    assert WORDS.decode(WORDS.encode(prompt)) + "".join(got) == WORDS.decode(
        [*WORDS.encode(prompt), *ids]
    )


@pytest.mark.parametrize("tokenizer", [BPE, CHARS, PIECES, WORDS], ids=lambda t: t.kind)
def test_a_long_text_comes_whole_and_each_token_costs_the_same(tokenizer, monkeypatch):
    draw = random.Random(1)
    known = [i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i)]
    ids = [draw.choice(known) for _ in range(500)]
    expected = tokenizer.decode(ids)
    counts: list[int] = []
    decode = Tokenizer.decode
    monkeypatch.setattr(
        Tokenizer, "decode", lambda self, some: counts.append(len(some)) or decode(self, some)
    )
    got, _ = pieces(tokenizer, ids)
    assert "".join(got) == expected
    assert max(counts) <= WINDOW + CONTEXT


def test_a_character_of_several_tokens_comes_when_its_last_byte_does():
    stream = TextStream(BPE)
    ids = [BPE.id(f"<0x{byte:02X}>") for byte in "🐕".encode()]
    assert [stream.push(token) for token in ids] == ["", "", "", "🐕"]


def test_bytes_that_are_no_character_are_shown_as_broken():
    stream = TextStream(BPE)
    assert stream.push(BPE.id("<0xFF>")) == "\ufffd"
    assert stream.push(BPE.id("t")) == "t"
    stream = TextStream(BPE)
    stream.push(BPE.id("<0xE2>"))
    assert stream.finish() == "\ufffd"


@examples(40)
@given(
    st.text(alphabet="abc ", max_size=20),
    st.lists(st.text(alphabet="abc ", min_size=1, max_size=4), max_size=3),
)
def test_a_stop_text_and_what_follows_it_never_come(text, stop):
    tokenizer = Tokenizer.train("bpe", ["ab abc ca ca bab abc"] * 9, vocab_size=270)
    got, stream = pieces(tokenizer, tokenizer.encode(text), stop=tuple(stop))
    ends = [(text.find(s) + len(s), text.find(s)) for s in stop if s in text]
    assert "".join(got) == (text[: min(ends)[1]] if ends else text)  # at the first that is complete
    assert stream.stopped == bool(ends)


def test_what_could_begin_a_stop_text_waits():
    tokenizer = Tokenizer.train("chars", ["abcdx"])
    got, stream = pieces(tokenizer, tokenizer.encode("aabxabcd"), stop=("abc",))
    assert got == ["", "a", "", "abx", "", "", "", "", ""]
    assert stream.text == "aabx"
    assert stream.stopped


def test_a_stop_text_that_began_in_the_prompt_is_not_one():
    tokenizer = Tokenizer.train("chars", ["abc"])
    got, stream = pieces(tokenizer, tokenizer.encode("ba"), prompt="a", stop=("ab",))
    assert ("".join(got), stream.stopped) == ("ba", False)


def test_an_empty_stop_text_is_refused():
    with pytest.raises(GlassformerError, match="a stop text is empty"):
        TextStream(BPE, stop=[""])


def test_a_stop_text_ends_the_generation_itself():
    config = Config(vocab_size=BPE.vocab_size, n_ctx=30, d_model=16, n_layers=1, n_heads=2)
    model = speaking(config)
    prompt = BPE.encode("the")
    full = generate(model, prompt, seed=1)
    text = "".join(stream_text(full, BPE))
    assert full.finish_reason == "context"
    stop = text[5:7]
    stopped = generate(model, prompt, seed=1)
    assert "".join(stream_text(stopped, BPE, [stop])) == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert len(stopped.new) < len(full.new)


def test_ids_that_the_tokenizer_has_no_token_for_spell_nothing():
    stream = TextStream(BPE)
    assert stream.push(BPE.vocab_size + 5) == ""
    assert stream.push(BPE.id("t")) == "t"
