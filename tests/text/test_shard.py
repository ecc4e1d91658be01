"""Facts about token shards: what is in them, that they are whole, and what damage is answered."""

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from glassformer.errors import GlassformerError
from glassformer.text import reading
from glassformer.text import shard_writing as shard_module
from glassformer.text.blocks import Blocks, whole_text
from glassformer.text.corpus import Corpus
from glassformer.text.reading import Piece
from glassformer.text.shard import HEADER, Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer

DOCUMENTS = ["The cat sat.", "On the mat", "a dog ran, far away", "x"]
BPE = Tokenizer.train("bpe", DOCUMENTS * 3, vocab_size=280)
WORDS = Tokenizer.train("words", DOCUMENTS, punctuation=False)
MINIATURE = Tokenizer.from_words(["the", "cat", "sat"])


def with_separators(documents, tokenizer):
    ids = [tokenizer.eos_id]
    for document in documents:
        ids += [*tokenizer.encode(document), tokenizer.eos_id]
    return ids


def test_a_shard_holds_each_document_between_separators(tmp_path):
    shard = write_shard(tmp_path, DOCUMENTS, BPE)
    expected = with_separators(DOCUMENTS, BPE)
    assert shard.tokens.tolist() == expected
    assert len(shard) == len(expected)
    assert shard.header.n_bytes == len("".join(DOCUMENTS))
    ends = [*shard.documents[1:].tolist(), len(shard)]
    result = [
        BPE.decode(shard.tokens[start : end - 1])
        for start, end in zip(shard.documents, ends, strict=True)
    ]
    assert result == DOCUMENTS


def test_a_tokenizer_without_separator_writes_documents_end_to_end(tmp_path):
    shard = write_shard(tmp_path, ["the cat", "sat the"], MINIATURE)
    assert shard.tokens.tolist() == [0, 1, 2, 0]
    assert shard.documents.tolist() == [0, 2]
    assert shard.header.eos_id is None


def test_pieces_of_a_document_have_no_separator_between_them(tmp_path):
    pieces = [
        Piece("The cat", False),
        Piece(" sat.\n", True),
        Piece("On", False),
        Piece(" the", True),
    ]
    shard = write_shard(tmp_path, pieces, BPE)
    assert shard.tokens.tolist() == with_separators(["The cat sat.\n", "On the"], BPE)
    assert shard.header.n_documents == 2


@given(
    st.lists(st.text("abc .\n", min_size=1, max_size=30), min_size=1, max_size=20),
    st.integers(1, 40),
)
def test_what_is_encoded_does_not_depend_on_the_batches(tmp_path_factory, documents, characters):
    folder = tmp_path_factory.mktemp("shard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_module, "BATCH_CHARACTERS", characters)
        shard = write_shard(folder, documents, BPE)
    assert shard.tokens.tolist() == with_separators(documents, BPE)
    assert len(shard.documents) == len(documents)


def test_a_tokenizer_that_marks_the_start_of_a_text_gets_whole_documents(tmp_path):
    engine = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "▁": 1, "a": 2}, unk_token="<unk>"))
    engine.normalizer = normalizers.Prepend("▁")
    engine.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = Tokenizer(engine)
    assert not tokenizer.splits_where_pieces_end
    shard = write_shard(
        tmp_path, [Piece("a", False), Piece(" a", True), Piece("a", True)], tokenizer
    )
    assert shard.tokens.tolist() == [*tokenizer.encode("a a"), *tokenizer.encode("a")]
    assert [each.splits_where_pieces_end for each in (BPE, WORDS, MINIATURE)] == [True] * 3


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_the_vocabulary_decides_how_wide_a_token_is(tmp_path, vocab_size, dtype):
    tokenizer = Tokenizer.from_words([f"w{index}" for index in range(vocab_size)])
    shard = write_shard(tmp_path, [f"w0 w{vocab_size - 1}"], tokenizer)
    assert shard.tokens.dtype == np.dtype(dtype)
    assert shard.tokens.tolist() == [0, vocab_size - 1]


def test_progress_tells_the_bytes_done(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_module, "BATCH_CHARACTERS", 10)
    done: list[int] = []
    shard = write_shard(tmp_path, ["twelve bytes", "é", "eight ch"], BPE, progress=done.append)
    assert done == [12, 22]
    assert shard.header.n_bytes == 22


def test_a_shard_written_again_replaces_the_old_which_stays_readable_where_it_is_open(tmp_path):
    old = write_shard(tmp_path, ["the cat"], MINIATURE)
    new = write_shard(tmp_path, ["sat"], MINIATURE)
    assert old.tokens.tolist() == [0, 1]
    assert new.tokens.tolist() == Shard(tmp_path).tokens.tolist() == [2]
    assert len(list(tmp_path.iterdir())) == 3


def test_writing_that_fails_leaves_the_old_shard_and_no_rubbish(tmp_path):
    write_shard(tmp_path, ["the cat"], MINIATURE)

    def texts():
        yield "sat"
        raise KeyboardInterrupt

    for broken in (texts(), ["the dog"]):
        with pytest.raises((KeyboardInterrupt, GlassformerError)):
            write_shard(tmp_path, broken, MINIATURE)
        assert Shard(tmp_path).tokens.tolist() == [0, 1]
        assert len(list(tmp_path.iterdir())) == 3


def test_writers_at_the_same_time_leave_one_whole_shard(tmp_path):
    def write(n_words):
        for _ in range(5):
            write_shard(tmp_path, ["the " * n_words], MINIATURE)

    threads = [threading.Thread(target=write, args=(n_words,)) for n_words in (3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shard = Shard(tmp_path)
    shard.verify()
    assert len(shard) in (3, 7, 11)


def test_equal_texts_have_equal_fingerprints_and_others_not(tmp_path):
    shards = [
        write_shard(tmp_path / name, texts, MINIATURE)
        for name, texts in {"a": ["the cat"], "b": ["the cat"], "c": ["the sat"]}.items()
    ]
    assert shards[0].fingerprint == shards[1].fingerprint != shards[2].fingerprint


def test_a_shard_of_another_tokenizer_of_the_same_size_is_refused(tmp_path):
    write_shard(tmp_path, ["the cat"], MINIATURE)
    Shard(tmp_path, tokenizer=Tokenizer.from_words(["the", "cat", "sat"]))
    with pytest.raises(GlassformerError, match="tokens of another tokenizer"):
        Shard(tmp_path, tokenizer=Tokenizer.from_words(["cat", "the", "sat"]))


@pytest.mark.parametrize("texts", [[], [""], ["...", "!"]])
def test_texts_without_a_token_are_refused(tmp_path, texts):
    with pytest.raises(GlassformerError, match="hold no token of this words tokenizer"):
        write_shard(tmp_path, texts, WORDS)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_was_cut_off_or_changed_is_refused_by_file(tmp_path):
    shard = write_shard(tmp_path, ["the cat sat"], MINIATURE)
    file = tmp_path / shard.header.tokens_file
    file.write_bytes(b"\x01" + file.read_bytes()[1:])
    with pytest.raises(GlassformerError, match=rf"{file.name} has changed since"):
        Shard(tmp_path).verify()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(GlassformerError, match=rf"{file.name} is 5 bytes long and .* says 6"):
        Shard(tmp_path)
    file.unlink()
    with pytest.raises(GlassformerError, match=rf"{file.name} is missing"):
        Shard(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no token shard"),
        ("{", "is not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('{"format": 1}', "has no 'dtype'"),
        ('{"format": 2}', "has format 2"),
    ],
)
def test_a_bad_header_is_answered_with_the_cause(tmp_path, content, message):
    if content is not None:
        (tmp_path / HEADER).write_text(content)
    with pytest.raises(GlassformerError, match=message):
        Shard(tmp_path)


def changed_header(folder: Path, **fields: object) -> None:
    header = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(header | fields))


def test_an_id_beyond_the_vocabulary_is_refused_by_file_and_id_whoever_signed_it(tmp_path):
    shard = write_shard(tmp_path, DOCUMENTS * 4, WORDS)
    file = tmp_path / shard.header.tokens_file
    tokens = np.frombuffer(file.read_bytes(), "<u2").copy()
    tokens[3] = 999
    file.write_bytes(tokens.tobytes())
    changed_header(tmp_path, sha256=hashlib.sha256(tokens.tobytes()).hexdigest())
    damaged = Shard(tmp_path, tokenizer=WORDS)
    damaged.verify()  # nothing says that it was changed
    said = rf"{file.name} holds the token id 999, and the vocabulary ends at {WORDS.vocab_size - 1}"
    blocks = Blocks(damaged, n_ctx=4)
    for read in (
        blocks.counts,
        lambda: [blocks.batch(step, seed=0, batch_size=8) for step in range(20)],
        lambda: list(whole_text(damaged, n_ctx=4, batch_size=2)),
        lambda: damaged.ids(slice(0, 5)),
    ):
        with pytest.raises(GlassformerError, match=said):
            read()


def test_a_shard_of_no_tokens_is_refused_by_field(tmp_path):
    shard = write_shard(tmp_path, ["the cat"], MINIATURE)
    (tmp_path / shard.header.tokens_file).write_bytes(b"")
    changed_header(tmp_path, n_tokens=0, sha256=hashlib.sha256(b"").hexdigest())
    with pytest.raises(GlassformerError, match=r"shard\.json.*n_tokens"):
        Shard(tmp_path)


@pytest.mark.parametrize("starts", [[2**63, 3, 8, 12], [99, 99, 99, 99], [0, 3, 8, 9999]])
def test_documents_that_start_outside_the_tokens_are_refused_by_file(tmp_path, starts):
    shard = write_shard(tmp_path, DOCUMENTS, WORDS)
    file = tmp_path / shard.header.documents_file
    file.write_bytes(np.array(starts, "<u8").tobytes())
    damaged = Shard(tmp_path)

    def read() -> None:
        blocks = Blocks(damaged, n_ctx=2, mode="documents")
        list(blocks.evaluation(batch_size=2))
        blocks.batch(step=0, seed=0, batch_size=8)

    for reader in (damaged.verify, read):
        with pytest.raises(GlassformerError, match=rf"{file.name} does not hold the places of doc"):
            reader()


def test_documents_out_of_order_are_refused_before_training(tmp_path):
    shard = write_shard(tmp_path, DOCUMENTS, WORDS)
    file = tmp_path / shard.header.documents_file
    file.write_bytes(shard.documents[::-1].tobytes())
    with pytest.raises(GlassformerError, match="one after the other within the tokens"):
        Shard(tmp_path).verify()


def test_a_corpus_becomes_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    text = tmp_path / "story.txt"
    text.write_text("The cat sat.\n" * 500)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": each}) + "\n" for each in DOCUMENTS))
    shard = write_shard(tmp_path / "shard", Corpus([text, rows]).pieces(), BPE)
    assert shard.header.n_documents == 1 + len(DOCUMENTS)
    assert shard.tokens.tolist() == with_separators([text.read_text(), *DOCUMENTS], BPE)
