"""Facts about corpora: what is read, in which pieces, and how bad input is answered."""

import io
import json
import os
import sys
import threading
from unittest.mock import patch

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, pre_tokenizers, trainers

from glassformer.errors import GlassformerError
from glassformer.text import reading
from glassformer.text.corpus import Corpus
from glassformer.text.reading import Piece, text_pieces
from glassformer.text.tokenizer import Tokenizer
from tests.examples import examples

STORY = "The cat sat on the mat. It's 12345 o'clock!\n\n  \"Well,\" said the dog...\r\nThe end\n"


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(*texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def test_a_text_file_is_one_document(tmp_path):
    path = write(tmp_path, "story.txt", STORY)
    assert list(Corpus(path).pieces()) == [Piece(STORY, ends_document=True)]
    assert Corpus(path).n_bytes == len(STORY)


def test_json_lines_are_a_document_per_row_and_empty_rows_are_left_out(tmp_path):
    path = write(tmp_path, "rows.jsonl", rows("One.", "", "Two\nlines.") + "\n  \n" + rows("3"))
    texts = ["One.", "Two\nlines.", "3"]
    assert list(Corpus(path).pieces()) == [Piece(text, ends_document=True) for text in texts]


def test_the_text_field_of_json_lines_can_be_named(tmp_path):
    path = write(tmp_path, "rows.jsonl", '{"body": "One.", "text": 7}')
    assert list(Corpus(path, field="body").texts()) == ["One."]


def test_a_folder_is_read_in_the_order_of_its_paths_hidden_files_left_out(tmp_path):
    for name in ("b.txt", "a/z.md", "a/.git/c.txt", ".hidden.txt", "c.bin", "a.rst"):
        write(tmp_path, name, f"this is {name}")
    write(tmp_path, "B.JSONL", rows("this is B.JSONL"))
    write(tmp_path, "empty.txt", "")
    names = ["B.JSONL", "a/z.md", "a.rst", "b.txt"]
    assert list(Corpus(tmp_path).texts()) == [f"this is {name}" for name in names]


def test_several_paths_are_read_in_the_order_given(tmp_path):
    paths = [write(tmp_path, name, name) for name in ("z.txt", "a.weird", "m.md")]
    assert list(Corpus([str(path) for path in paths]).texts()) == ["z.txt", "a.weird", "m.md"]


def test_standard_input_is_read_once_and_can_be_gone_through_again(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(STORY.encode())))
    corpus = Corpus("-")
    assert corpus.n_bytes is None
    assert [list(corpus.texts()) for _ in range(2)] == [[STORY], [STORY]]
    assert corpus.n_bytes == len(STORY)


def test_a_pipe_is_read_once_and_can_be_gone_through_again(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(STORY,))
    corpus = Corpus(pipe)
    writer.start()
    assert [list(corpus.texts()) for _ in range(2)] == [[STORY], [STORY]]
    writer.join()


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    text = write(tmp_path, "story.txt", b"\xef\xbb\xbf" + STORY.encode())
    lines = write(tmp_path, "rows.jsonl", b"\xef\xbb\xbf" + rows("One.").encode())
    assert list(Corpus([text, lines]).texts()) == [STORY, "One."]


BAD_FILES = {
    "empty.txt": (b"", r"empty\.txt is empty \(0 bytes\)"),
    "zero.txt": (b"one\ntwo\n\x00\x01", r"zero\.txt: a zero byte in line 3, .* binary file"),
    "latin.txt": (b"one\nna\xefve\n", r"latin\.txt: byte 6 \(0xEF, in line 2\) is not UTF-8"),
    "cut.txt": (b"one\n\xe2\x82", r"cut\.txt: byte 4 \(0xE2, in line 2\) is not UTF-8"),
    "bom.txt": (b"\xef\xbb\xbfab\xff", r"bom\.txt: byte 5 \(0xFF, in line 1\) is not UTF-8"),
    "wide.txt": ("one".encode("utf-16"), r"wide\.txt is UTF-16 text; convert it"),
    "bad.jsonl": (b'{"text": "a"}\n{"text": \n', r"bad\.jsonl:2 is not JSON: Expecting value at"),
    "tab.jsonl": (b'{"text": "a\tb"}\n', r"not JSON: Invalid control character at column 12;"),
    "later.jsonl": (
        b'{"text": "a"}\n{"txt": "b"}\n',
        r"later\.jsonl:2 has no field 'text'.* Earlier rows have it; add it to this row, or leave",
    ),
    "list.jsonl": (b"\n[1]\n", r"list\.jsonl:2 is a list, not an object"),
    "field.jsonl": (
        b'{"txt": "a", "id": 1}',
        r"field\.jsonl:1 has no field 'text'; its fields are "
        r"'txt', 'id'\. Did you mean 'txt'\? .*--field",
    ),
    "none.jsonl": (b"{}", r"none\.jsonl:1 has no field 'text'; its fields are none\."),
    "number.jsonl": (b'{"text": 3}', r"number\.jsonl:1: the field 'text' is a number, not text"),
    "null.jsonl": (b'{"text": null}', r"null\.jsonl:1: the field 'text' is null, not text"),
    "half.jsonl": (
        b'{"text": "a\\ud800"}',
        r"half\.jsonl:1: character 1 .* lone surrogate U\+D800",
    ),
    "latin.jsonl": (b'{"text": "a"}\n{"text": "\xef"}', r"latin\.jsonl: byte 10 .* in line 2"),
    "deep.jsonl": (b"[" * 100_000, r"deep\.jsonl:1 is not JSON"),
    "blank.jsonl": (b"\n\n", r"there is no text in .*blank\.jsonl"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_answered_with_its_place_and_cause_in_one_line(name, tmp_path):
    content, message = BAD_FILES[name]
    path = write(tmp_path, name, content)
    with pytest.raises(GlassformerError, match=message) as caught:
        list(Corpus(path).pieces())
    assert "\n" not in str(caught.value)


def test_the_place_of_a_bad_byte_is_right_far_into_a_file(tmp_path):
    lines = b"caf\xc3\xa9 \xe2\x82\xac\n" * 300_000  # three blocks, characters cut at their ends
    path = write(tmp_path, "long.txt", lines + b"\xff")
    with pytest.raises(GlassformerError, match=r"byte 3,000,000 \(0xFF, in line 300,001\)"):
        list(Corpus(path).pieces())


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path):
    write(tmp_path, "story.txt", STORY)
    with pytest.raises(GlassformerError, match=r"no file or folder .*Did you mean 'story\.txt'"):
        Corpus(tmp_path / "stroy.txt")


def test_a_folder_without_text_says_what_it_holds(tmp_path):
    with pytest.raises(GlassformerError, match="no files at all"):
        Corpus(tmp_path)
    write(tmp_path, "image.png", b"")
    with pytest.raises(GlassformerError, match=r"only \.png"):
        Corpus(tmp_path)
    write(tmp_path, "empty.txt", b"")
    with pytest.raises(GlassformerError, match="there is no text in"):
        list(Corpus(tmp_path).pieces())


def with_regex(pattern: str) -> Tokenizer:
    """A byte-level BPE that splits words as another family of models does."""
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator([STORY * 3], trainer=trainer)
    return Tokenizer(engine)


GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TOKENIZERS = {
    "bpe": Tokenizer.train("bpe", [STORY * 3], vocab_size=330),
    "chars": Tokenizer.train("chars", [STORY]),
    "words": Tokenizer.train("words", [STORY], lowercase=True),
    "gpt-4": with_regex(GPT4),
}
near_text = st.text(" \n\r\t\u3000\x1c'a1é字。.,-\"_\u0301²", max_size=80)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(
    near_text
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
)
@examples(40)
def test_the_pieces_of_a_text_have_the_tokens_of_the_whole(name, text):
    tokenizer = TOKENIZERS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", 7)
        pieces = list(text_pieces(io.BytesIO(text.encode()), "text"))
    assert "".join(piece.text for piece in pieces) == text.removeprefix("\ufeff")
    assert [piece.ends_document for piece in pieces] == [False] * (len(pieces) - 1) + [True] * bool(
        pieces
    )
    ids = [token_id for piece in pieces for token_id in tokenizer.encode(piece.text)]
    assert ids == tokenizer.encode(text.removeprefix("\ufeff"))


def test_a_long_text_comes_in_pieces_that_end_at_line_ends(tmp_path):
    path = write(tmp_path, "long.txt", (STORY * 40_000).encode())
    pieces = list(Corpus(path).pieces())
    assert len(pieces) >= 3
    assert max(len(piece.text) for piece in pieces) < 1.1 * reading.BLOCK_BYTES
    assert all(piece.text[0] in "\r\n" for piece in pieces[1:])
    assert "".join(piece.text for piece in pieces) == STORY * 40_000


def test_a_word_too_long_to_be_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_WORD", 3 * 2**20)
    path = write(tmp_path, "dna.txt", b"acgt" * 2**20)
    with pytest.raises(GlassformerError, match=r"3,276,800 characters up to line 1 have no space"):
        list(Corpus(path).pieces())


@given(
    st.lists(st.text(alphabet="ab \n7|<>é", max_size=12), min_size=1, max_size=6),
    st.integers(1, 40),
)
def test_a_separator_makes_documents_wherever_the_blocks_of_a_file_end(texts, block):
    content = " <|eos|>\n".join(texts)
    file = io.BufferedReader(io.BytesIO(content.encode()))
    with patch.object(reading, "BLOCK_BYTES", block):
        pieces = list(text_pieces(file, "stories.txt", "<|eos|>"))
    documents, parts = [], []
    for piece in pieces:
        parts.append(piece.text)
        if piece.ends_document:
            documents.append("".join(parts))
            parts = []
    assert parts == []
    assert documents == [text.strip() for text in content.split("<|eos|>") if text.strip()]
