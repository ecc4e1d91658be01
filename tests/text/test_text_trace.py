"""Facts about the replay: it ends in the engine's ids, and what it says of each merge is so."""

import io
import json
import tempfile
from collections import Counter
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from glassformer.text import reading
from glassformer.text.merges import count_learned, merge_all
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from tests.examples import examples

STORY = [
    "The banana and the bandana: a cat, an ant, and a man that had a hat. " * 3,
    "banana banana mississippi  mississippi\n\n\n",
]
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
near_text = st.text(" abehnst.\n'é", max_size=60)
BPE = Tokenizer.train("bpe", STORY, vocab_size=330, trace=True)
CHARS = Tokenizer.train("chars", STORY)
WORDS = Tokenizer.train("words", STORY, lowercase=True)


def sentencepiece_like() -> Tokenizer:
    """A BPE as Llama 2 has it: no words, spaces written as letters, byte fallback."""
    engine = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    engine.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    engine.train_from_iterator(STORY, trainer=trainer)
    return Tokenizer(engine, eos="</s>")


def classic_bpe() -> Tokenizer:
    """A BPE of characters with an end-of-word mark, as Sennrich et al. had it, and an `<unk>`."""
    engine = tokenizers.Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=120,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    engine.train_from_iterator(STORY, trainer=trainer)
    return Tokenizer(engine)


def whole_words_first() -> Tokenizer:
    """A BPE that takes a word in its vocabulary whole, as Llama 3 does, with a token added."""
    content = json.loads(BPE.engine.to_str())
    content["model"]["ignore_merges"] = True
    engine = tokenizers.Tokenizer.from_str(json.dumps(content))
    engine.add_tokens([AddedToken("ana", normalized=False)])
    return Tokenizer(engine, eos="<eos>")


def unigram() -> Tokenizer:
    engine = tokenizers.Tokenizer(models.Unigram())
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    engine.train_from_iterator(STORY, trainer=trainer)
    return Tokenizer(engine)


def elsewhere(
    normalizer: normalizers.Normalizer | None = None,
    pre_tokenizer: pre_tokenizers.PreTokenizer | None = None,
    added: AddedToken | None = None,
) -> Tokenizer:
    """A BPE that treats the start of a text, or of what follows an added token, in its own way."""
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    if normalizer is not None:
        engine.normalizer = normalizer
    if pre_tokenizer is not None:
        engine.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>"], show_progress=False)
    engine.train_from_iterator(STORY, trainer=trainer)
    if added is not None:
        engine.add_tokens([added])
    return Tokenizer(engine)


AN = AddedToken("an")  # looked for in the normalized text, where its own name is normalized too
LLAMA = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
SPACE_BEFORE = pre_tokenizers.ByteLevel(add_prefix_space=True)
ELSEWHERE = {
    "a space before": elsewhere(None, SPACE_BEFORE),
    "a space before, added": elsewhere(None, SPACE_BEFORE, AN),
    "▁ at the start, added": elsewhere(None, pre_tokenizers.Metaspace(prepend_scheme="first"), AN),
    "▁ everywhere, added": elsewhere(None, pre_tokenizers.Metaspace(prepend_scheme="always"), AN),
    "▁ prepended, added": elsewhere(LLAMA, None, AN),
    "stripped, added": elsewhere(normalizers.Strip(), SPACE_BEFORE, AN),
    "lower case, added with spaces": elsewhere(
        normalizers.Lowercase(),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        AddedToken("An", normalized=True, lstrip=True, rstrip=True),
    ),
}
ALL = {
    **ELSEWHERE,
    "bpe": BPE,
    "chars": CHARS,
    "words": WORDS,
    "sentencepiece-like": sentencepiece_like(),
    "classic bpe": classic_bpe(),
    "whole words first": whole_words_first(),
    "unigram": unigram(),
}


@pytest.mark.parametrize("name", ALL)
@given(any_text | near_text)
@examples(20)
def test_the_replay_ends_in_the_ids_of_the_engine(name, text):
    tokenizer = ALL[name]
    trace = tokenizer.trace(text)
    assert trace.ids == tokenizer.encode(text)
    assert trace.tokens == [tokenizer.token(token_id) for token_id in trace.ids]
    looked_up = [step for step in trace.steps if step.op == "look up"]
    assert [token_id for step in looked_up for token_id in step.ids] == trace.ids


@pytest.mark.parametrize("name", ELSEWHERE)
@given(near_text)
@examples(20)
def test_a_text_read_in_pieces_has_the_tokens_of_the_whole_wherever_a_tokenizer_marks_its_start(
    name, text
):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(reading, "BLOCK_BYTES", 5)
        pieces = reading.text_pieces(io.BufferedReader(io.BytesIO(f"an{text}".encode())), "text")
        shard = write_shard(folder, pieces, ELSEWHERE[name])
        assert shard.tokens.tolist() == ELSEWHERE[name].encode(f"an{text}")


@given(near_text)
@examples(20)
def test_each_merge_takes_the_lowest_rank_considered_the_leftmost_first(text):
    before: tuple[str, ...] = ()
    for step in BPE.trace(text).steps:
        if step.op == "merge":
            assert step.merge is not None
            assert [(pair.left, pair.right) for pair in step.considered] == list(pairwise(before))
            ranked = [pair for pair in step.considered if pair.rank is not None]
            assert step.merge == min(ranked, key=lambda pair: (pair.rank, pair.position))
            at = step.merge.position
            joined = step.merge.left + step.merge.right
            assert step.pieces == (*before[:at], joined, *before[at + 2 :])
        before = step.pieces


def test_a_piece_that_is_an_added_token_too_has_the_one_name_that_the_vocabulary_has_for_it():
    tokenizer = ELSEWHERE["▁ prepended, added"]
    trace = tokenizer.trace("0an")
    assert trace.tokens == [tokenizer.token(token_id) for token_id in tokenizer.encode("0an")]


def test_the_steps_of_a_word_can_be_checked_by_hand():
    tokenizer = Tokenizer.train("bpe", ["banana"] * 2, vocab_size=259, trace=True)
    assert tokenizer.merges_learned is not None
    learned = [(merge.left, merge.right, merge.count) for merge in tokenizer.merges_learned]
    assert learned == [("a", "n", 4), ("b", "an", 2)]
    steps = [
        (step.op, step.pieces, step.merge and (step.merge.rank, step.merge.position))
        for step in tokenizer.trace("banana").steps
    ]
    assert steps == [
        ("split", ("banana",), None),
        ("split", ("b", "a", "n", "a", "n", "a"), None),
        ("merge", ("b", "an", "a", "n", "a"), (0, 1)),
        ("merge", ("b", "an", "an", "a"), (0, 2)),
        ("merge", ("ban", "an", "a"), (1, 0)),
        ("look up", ("ban", "an", "a"), None),
    ]


def test_characters_and_words_are_split_and_looked_up():
    assert [(step.op, step.pieces) for step in CHARS.trace("cé").steps] == [
        ("split", ("c", "<0xC3>", "<0xA9>")),
        ("look up", ("c", "<0xC3>", "<0xA9>")),
    ]
    assert [(step.op, step.pieces, step.ids) for step in WORDS.trace("The emu").steps] == [
        ("split", ("the", "emu"), ()),
        ("look up", ("the",), (WORDS.id("the"),)),
        ("look up", ("<unk>",), (WORDS.id("<unk>"),)),
    ]


def test_the_empty_text_has_no_words():
    for tokenizer in ALL.values():
        assert tokenizer.trace("").words == () or tokenizer.trace("").ids == tokenizer.encode("")


def test_many_repeated_characters_are_replayed_too():
    trace = BPE.trace("a" * 100_000)
    assert trace.ids == BPE.encode("a" * 100_000)


def learn_by_brute_force(words: Counter[str], n_merges: int) -> list[tuple[str, str, int]]:
    """Learn merges the slow way: count all pairs anew each time, ties to the lower token ids."""
    pieces = {word: list(word) for word in words}
    tokens = sorted({piece for word in pieces.values() for piece in word})
    learned = []
    while len(learned) < n_merges:
        counts = Counter(
            pair for word in words for pair in pairwise(pieces[word]) for _ in range(words[word])
        )
        if not counts or max(counts.values()) < 2:
            break
        left, right = min(
            counts, key=lambda pair: (-counts[pair], tokens.index(pair[0]), tokens.index(pair[1]))
        )
        learned.append((left, right, counts[left, right]))
        if left + right not in tokens:
            tokens.append(left + right)
        pieces = {word: merge_all(each, left, right) for word, each in pieces.items()}
    return learned


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=12))
@examples(25)
def test_learned_merges_and_their_counts_are_those_of_a_brute_force_bpe(words):
    n_merges = 12
    text = " ".join(words)
    tokenizer = Tokenizer.train("bpe", [text], vocab_size=257 + n_merges, trace=True)
    assert tokenizer.merges_learned is not None
    counts = Counter([words[0], *(f"Ġ{word}" for word in words[1:])])
    expected = learn_by_brute_force(counts, n_merges)
    learned = [
        (merge.left.replace(" ", "Ġ"), merge.right.replace(" ", "Ġ"), merge.count)
        for merge in tokenizer.merges_learned
    ]
    assert [merge.rank for merge in tokenizer.merges_learned] == list(range(len(learned)))
    assert learned == expected


def test_counts_of_learned_merges_fall_from_merge_to_merge():
    assert BPE.merges_learned is not None
    counts = [merge.count for merge in BPE.merges_learned]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == BPE.vocab_size - 257
    assert count_learned({}, []) == []


def test_merges_are_kept_with_counts_only_when_asked_for():
    assert Tokenizer.train("bpe", STORY, vocab_size=270).merges_learned is None
