"""Facts about blocks: what a step sees, what is held out, and that every target counts once."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import GlassformerError
from glassformer.text.blocks import IGNORED, Blocks, in_order, whole_text
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from tests.examples import examples

WORDS = Tokenizer.train("words", [" ".join(f"w{index}" for index in range(500))])
NAMED = Tokenizer.from_words([f"w{index}" for index in range(500)])


def numbers(first: int, end: int) -> str:
    return " ".join(f"w{index}" for index in range(first, end))


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Shard:
    """The tokens 0, 1, 2, ... 199 and no separator, so that a token is its place."""
    return write_shard(tmp_path_factory.mktemp("stream"), [numbers(0, 200)], NAMED)


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Shard:
    """40 documents of 3 to 12 words, none of them twice."""
    lengths = [3 + 7 * index % 10 for index in range(40)]
    ends = np.cumsum(lengths).tolist()
    texts = [numbers(end - length, end) for length, end in zip(lengths, ends, strict=True)]
    return write_shard(tmp_path_factory.mktemp("documents"), texts, WORDS)


def test_y_is_the_token_after_each_of_x(stream):
    x, y = Blocks(stream, n_ctx=8).batch(step=0, seed=1, batch_size=16)
    assert x.dtype == y.dtype == torch.int64
    assert x.shape == y.shape == (16, 8)
    assert torch.equal(y, x + 1)
    assert torch.equal(x - x[:, :1], torch.arange(8).expand(16, 8))


@pytest.mark.parametrize("mode", ["stream", "documents"])
def test_a_batch_is_a_function_of_seed_and_step_alone(documents, mode):
    blocks = Blocks(documents, n_ctx=8, mode=mode)
    first = blocks.batch(step=7, seed=3, batch_size=32)
    blocks.batch(step=8, seed=3, batch_size=32)
    again = Blocks(Shard(documents.folder), n_ctx=8, mode=mode).batch(7, 3, 32)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], blocks.batch(8, 3, 32)[0])
    assert not torch.equal(first[0], blocks.batch(7, 4, 32)[0])


def test_the_order_of_the_data_is_the_one_written_down_here(stream):
    """A change of it would break the resumption of every run: see `Blocks.batch`."""
    x, _ = Blocks(stream, n_ctx=8).batch(step=5, seed=42, batch_size=6)
    assert x[:, 0].tolist() == [98, 42, 74, 66, 114, 130]


def test_the_order_of_many_blocks_takes_little_memory_and_is_the_order_of_all_their_draws():
    """A corpus of a gigabyte has 20 million blocks of 32 tokens; a pass of it is never held."""
    n, at = 2_000_001, 1_234_567
    tracemalloc.start()
    first, further = (
        in_order(n, np.arange(begin, begin + 5_000), seed=7, number=3) for begin in (0, at)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * n  # bytes: the draws and places of all would take 16 n and more
    draws = np.random.Philox(key=np.array([7, 3], dtype=np.uint64)).random_raw(n // 2 + 1)
    order = draws.view(np.uint32)[:n].argsort(kind="stable")
    assert np.array_equal(first, order[:5_000])
    assert np.array_equal(further, order[at : at + 5_000])
    every = in_order(n, np.arange(n), seed=7, number=3)
    assert np.array_equal(every, order)


@pytest.mark.parametrize("mode", ["stream", "documents"])
def test_the_blocks_are_one_sequence_whatever_a_batch_holds(documents, mode):
    blocks = Blocks(documents, n_ctx=8, mode=mode)
    small = torch.cat([blocks.batch(step, 2, 6)[0] for step in range(30)])
    large = torch.cat([blocks.batch(step, 2, 45)[0] for step in range(4)])
    assert torch.equal(small, large)


@pytest.mark.parametrize("number", range(3))
def test_every_part_of_a_stream_is_seen_once_before_any_is_seen_twice(stream, number):
    blocks = Blocks(stream, n_ctx=8)
    n = 172 // 8  # whole blocks in a pass
    _, y = blocks.batch(step=number, seed=5, batch_size=n)
    assert len(set(y.flatten().tolist())) == 8 * n


@pytest.mark.parametrize("number", range(3))
def test_every_document_begins_one_block_before_any_begins_two(documents, number):
    blocks = Blocks(documents, n_ctx=16, mode="documents")
    n = int((documents.documents < blocks.n_train).sum())
    x, _ = blocks.batch(step=number, seed=5, batch_size=n)
    eos = documents.header.eos_id
    begun = [int(row[1] if row[0] == eos else row[0]) for row in x]
    assert sorted(begun) == sorted(documents.tokens[documents.documents[:n]].tolist())
    assert abs(sum(int(row[0]) == eos for row in x) - n / 2) <= 1


def test_each_pass_has_an_order_of_its_own(stream):
    blocks = Blocks(stream, n_ctx=8)
    passes = [blocks.batch(number, 5, 21)[0][:, 0] for number in range(3)]
    moves = {tuple((starts[1:] - starts[:-1]).remainder(172).tolist()) for starts in passes}
    assert len(moves) == 3


def test_a_stream_block_starts_anywhere_in_the_training_part_and_never_leaves_it(stream):
    blocks = Blocks(stream, n_ctx=8)
    assert (blocks.n_train, blocks.n_validation) == (180, 20)
    x, y = blocks.batch(step=0, seed=0, batch_size=20_000)
    assert sorted(set(x[:, 0].tolist())) == list(range(180 - 8))
    assert int(y.max()) == 179


def test_stream_blocks_start_everywhere_equally_often(stream):
    starts = Blocks(stream, n_ctx=8).batch(step=0, seed=0, batch_size=172_000)[0][:, 0]
    counts = starts.bincount(minlength=172).double()
    chi_squared = float(((counts - 1000) ** 2 / 1000).sum())
    assert abs(chi_squared - 171) < 5 * (2 * 171) ** 0.5  # 5 standard deviations of chi-squared


def test_validation_tokens_are_each_a_target_once_in_order(stream):
    batches = list(Blocks(stream, n_ctx=8).evaluation(batch_size=2))
    targets = torch.cat([y for _, y in batches])
    assert [len(x) for x, _ in batches] == [2, 1]
    assert targets[targets != IGNORED].tolist() == list(range(180, 200))
    for x, y in batches:
        assert torch.equal(x[y != IGNORED] + 1, y[y != IGNORED])


@given(n_ctx=st.integers(1, 40), batch_size=st.integers(1, 7))
@settings(max_examples=30)
def test_of_a_whole_text_every_token_but_the_first_is_a_target_once(documents, n_ctx, batch_size):
    batches = list(whole_text(documents, n_ctx, batch_size))
    targets = torch.cat([y[y != IGNORED] for _, y in batches])
    assert targets.tolist() == documents.tokens[1:].tolist()
    seen = torch.cat([x[y != IGNORED] for x, y in batches])
    assert seen.tolist() == documents.tokens[:-1].tolist()


def test_a_training_block_of_documents_starts_with_one_or_at_the_separator_before_it(documents):
    blocks = Blocks(documents, n_ctx=8, mode="documents")
    x, y = blocks.batch(step=0, seed=0, batch_size=4000)
    starts = set(documents.tokens[documents.documents[: documents.header.n_documents]].tolist())
    at_separator = x[:, 0] == WORDS.eos_id
    assert 0.45 < float(at_separator.double().mean()) < 0.55
    first_words = torch.where(at_separator, x[:, 1], x[:, 0])
    seen = set(first_words.tolist())
    assert seen < starts
    assert len(seen) == int((documents.documents < blocks.split).sum())
    tokens = documents.tokens.tolist()
    for row, targets in zip(x[:50].tolist(), y[:50].tolist(), strict=True):
        begin = next(index for index in range(len(tokens)) if tokens[index : index + 3] == row[:3])
        inside = min(8, blocks.split - begin - 1)
        assert targets[:inside] == tokens[begin + 1 : begin + 1 + inside]
        assert targets[inside:] == [IGNORED] * (8 - inside)


def test_documents_are_split_between_two_of_them_and_neither_part_sees_the_other(documents):
    blocks = Blocks(documents, n_ctx=8, mode="documents")
    assert blocks.split in documents.documents.tolist()
    assert abs(blocks.n_validation / len(documents) - 0.1) < 0.05
    _, y = blocks.batch(step=0, seed=0, batch_size=2000)
    trained = set(y[y != IGNORED].tolist()) - {WORDS.eos_id}
    held_out = set(documents.tokens[blocks.split :].tolist()) - {WORDS.eos_id}
    assert held_out
    assert not trained & held_out


@given(
    n_ctx=st.integers(1, 40), batch_size=st.integers(1, 7), validation=st.sampled_from([0.1, 0.6])
)
@examples(20)
def test_every_token_of_held_out_documents_is_a_target_once(
    documents, n_ctx, batch_size, validation
):
    blocks = Blocks(documents, n_ctx, mode="documents", validation=validation)
    targets, rows = [], []
    for x, y in blocks.evaluation(batch_size):
        assert x.shape == y.shape
        assert len(x) <= batch_size
        targets += y[y != IGNORED].tolist()
        rows += list(zip(x.tolist(), y.tolist(), strict=True))
    assert targets == documents.tokens[blocks.split :].tolist()
    assert len(targets) == blocks.n_validation
    longest = max(map(int, np.diff(documents.documents)))
    if n_ctx >= longest:
        for x, y in rows:  # whole documents: a separator before them, and one at their end
            real = [target for target in y if target != IGNORED]
            assert x[0] == WORDS.eos_id == real[-1]
            assert x[len(real) :] == [WORDS.eos_id] * (n_ctx - len(real))
        used = [sum(target != IGNORED for target in y) for _, y in rows]
        assert all(left + right > n_ctx - longest for left, right in pairwise(used))


def test_nothing_is_held_out_when_that_is_asked_for(stream, documents):
    assert list(Blocks(stream, 8, validation=0).evaluation(4)) == []
    assert list(Blocks(documents, 8, mode="documents", validation=0).evaluation(4)) == []
    x, _ = Blocks(stream, 8, validation=0).batch(0, 0, 5000)
    assert int(x[:, 0].max()) == 200 - 9


def test_a_text_of_exactly_one_block_can_be_trained_on(stream):
    x, y = Blocks(stream, n_ctx=199, validation=0).batch(0, 0, 3)
    assert torch.equal(x, torch.arange(199).expand(3, 199))
    assert torch.equal(y, x + 1)


def test_counts_are_those_of_the_training_targets(documents):
    blocks = Blocks(documents, n_ctx=8)
    expected = np.bincount(documents.tokens[1 : blocks.split], minlength=WORDS.vocab_size)
    assert blocks.counts().tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"n_ctx": 180},
            r"has 200 tokens, 180 of them to train on, .* n_ctx=180 takes 181; give "
            r"more text or n_ctx=179",
        ),
        ({"n_ctx": 8, "validation": 1.5}, "validation=1.5 is no share"),
        ({"n_ctx": 8, "mode": "documents"}, "need a tokenizer with a separator"),
    ],
)
def test_blocks_that_can_not_be_made_are_refused(stream, arguments, message):
    with pytest.raises(GlassformerError, match=message):
        Blocks(stream, **arguments)


def test_one_document_can_not_be_split_into_documents(tmp_path):
    shard = write_shard(tmp_path, [numbers(0, 50)], WORDS)
    with pytest.raises(GlassformerError, match="the text is one document"):
        Blocks(shard, 8, mode="documents")
    assert Blocks(shard, 8, mode="documents", validation=0).batch(0, 0, 1)[0].shape == (1, 8)


def test_a_text_of_one_token_is_too_short_with_no_n_ctx_to_suggest(tmp_path):
    shard = write_shard(tmp_path, ["w1"], NAMED)
    with pytest.raises(GlassformerError, match=r"n_ctx=4 takes 5; give more text$"):
        Blocks(shard, 4)
