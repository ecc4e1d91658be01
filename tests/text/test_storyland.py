"""Storyland: every document's probability is known, and the documents are what they say."""

import math
import re
import statistics
from collections import Counter
from itertools import islice, product

import pytest

from glassformer.errors import GlassformerError
from glassformer.text import storyland
from glassformer.text.storyland.corpus import GRAMMAR
from glassformer.text.storyland.derivation import Grammar, Pool
from glassformer.text.storyland.grammar import KINDS
from glassformer.text.tokenizer import Tokenizer

N = 4000


@pytest.fixture(scope="module")
def sample() -> list[storyland.Document]:
    return [*islice(storyland.documents("test"), N)]


@pytest.fixture(scope="module", params=["words", "bpe", "chars"])
def tokenizer(request: pytest.FixtureRequest, sample: list[storyland.Document]) -> Tokenizer:
    size = {"bpe": 600}.get(request.param)
    return Tokenizer.train(request.param, (d.text for d in sample[:1000]), vocab_size=size)


def test_the_same_seed_gives_the_same_documents_and_another_seed_others():
    first, again, other = (
        [*islice(storyland.texts(seed), 50)] for seed in ("a seed", "a seed", "another seed")
    )
    assert first == again
    assert len(set(first) & set(other)) < 5  # a short one may come up twice


def test_the_documents_of_a_seed_never_change():
    # golden: a run that is resumed, or repeated elsewhere, must find the same text
    assert next(storyland.texts(0)) == (
        "dax means moon. tol means sun. tol means sun. tol means sun. dax means moon. dax"
        " means moon. fep means star. fep means star. fep means star. tol means sun. fep "
        "means star. tol means sun."
    )


def test_every_text_has_one_derivation_and_it_gives_back_the_recorded_surprise(sample):
    for document in sample:
        derivations = [*GRAMMAR.read(document.text)]
        assert derivations == [pytest.approx(document.nats, rel=1e-12)]  # sums in two orders
        assert storyland.log_prob(document.text) == -derivations[0]


def test_the_probabilities_of_all_documents_of_a_small_grammar_add_up_to_one():
    kinds = {"a": 2, "b": 1}
    rules = {
        "a": [(1, "{x1} {y1}<more>"), (3, "{x}!")],
        "more": [(1, " {x2} {y2} {x1!}"), (2, ""), (1, "<of:y1>")],
        "of p": [(1, "?")],
        "of q": [(2, "..."), (1, " q")],
        "b": [(1, "no {y1} {y2} {x1}")],
    }
    pools = {"x": Pool(("u", "v", "w")), "y": Pool(("p", "q"), repeats=True)}
    grammar = Grammar(kinds, rules, pools)
    words = ("u", "v", "w", "p", "q", "no")
    total, entropy = 0.0, 0.0
    for n in range(1, 6):
        for chosen in product(words, repeat=n):
            for end in ("", "!", "?", "..."):
                for nats in grammar.read(" ".join(chosen) + end):
                    total += math.exp(-nats)
                    entropy += math.exp(-nats) * nats
    assert total == pytest.approx(1, rel=1e-12)
    assert grammar.expect(lambda word: 0)[0] == pytest.approx(entropy, rel=1e-12)


def test_entropy_is_the_mean_surprise_of_a_long_sample():
    nats = [document.nats for document in islice(storyland.documents("long"), 20_000)]
    error = statistics.stdev(nats) / math.sqrt(len(nats))
    assert error < 0.1  # nats per document
    assert abs(statistics.mean(nats) - storyland.entropy()) < 3 * error  # p = 0.3% by chance


def test_expected_tokens_is_the_mean_length_of_a_long_sample(sample, tokenizer):
    lengths = [len(ids) + 1 for ids in tokenizer.encode_batch([d.text for d in sample])]
    error = statistics.stdev(lengths) / math.sqrt(len(lengths))
    assert abs(statistics.mean(lengths) - storyland.expected_tokens(tokenizer)) < 3 * error


def test_the_floor_is_near_entropy_per_expected_token(sample, tokenizer):
    expected = storyland.entropy() / storyland.expected_tokens(tokenizer)
    # both parts have an error of about 1% of their own size at this sample size
    assert storyland.floor(sample, tokenizer) == pytest.approx(expected, rel=0.03)


def test_answers_are_words_that_the_document_has_shown_that_often(sample):
    for document in sample:
        for answer in document.answers:
            word = document.text[answer.start : answer.end]
            before = document.text[: answer.start]
            assert answer.n_examples >= 1
            assert len(re.findall(rf"\b{word}\b", before)) >= answer.n_examples


def test_an_answer_in_a_pattern_is_what_followed_its_key_every_time(sample):
    patterns = [d for d in sample if d.kind in ("colours", "words")]
    assert len(patterns) > 500
    for document in patterns:
        assigned: dict[str, str] = {}
        shown: Counter[str] = Counter()
        answers = {a.end: a for a in document.answers}
        at = 0
        for line in document.text.removesuffix(".").split(". "):
            key, value = re.split(" is | means ", line)
            at += len(line)
            assert (at in answers) == (key in assigned)
            if key in assigned:
                assert assigned[key] == value
                assert answers[at].n_examples == shown[key]
            assigned[key] = value
            shown[key] += 1
            at += len(". ")


def test_all_kinds_come_as_often_as_their_weights_say(sample):
    counts = Counter(document.kind for document in sample)
    for kind, weight in KINDS.items():
        p = weight / sum(KINDS.values())
        error = math.sqrt(p * (1 - p) / N)
        assert abs(counts[kind] / N - p) < 4 * error


def test_documents_fit_a_context_of_64_tokens(sample):
    words = Tokenizer.train("words", (d.text for d in sample[:1000]))
    assert max(len(words.encode(d.text)) + 1 for d in sample) <= 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The cat sat on the mat.",
        "apple is red. plum is purple",
        "zib means dog. zib means sun.",
    ],
)
def test_a_text_that_is_no_document_has_no_probability(text):
    with pytest.raises(GlassformerError, match="no document"):
        storyland.log_prob(text)


@pytest.mark.parametrize(
    "phrase",
    [
        "The cat sat on the mat.",
        "The dog ran in the park.",
        "The cat and dog played together.",
        "the easiest trick to teach a dog is sit.",
    ],
)
def test_the_phrases_of_the_first_lessons_are_among_the_documents(phrase):
    assert any(phrase in text for text in islice(storyland.texts("phrases"), 20_000))


def test_articles_fit_their_nouns(sample):
    text = " ".join(document.text for document in sample)
    assert not re.findall(r"\b[Aa] [aeiou]\w*", text)
    assert not re.findall(r"\b[Aa]n [^aeiou]\w*", text)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"k": [(1, "{cat1}")]}, "no pool 'cat'"),
        ({"k": [(1, "a<b>")]}, "no rule 'b'"),
        ({"k": [(1, "a <b>")], "b": [(1, "b")]}, "splits a word"),
        ({"k": [(1, "{dog1}s")]}, "splits a word"),
        ({"k": [(1, "{dog1}<is:dog1>")], "is rex": [(1, " {dog2}")]}, "plain text"),
    ],
)
def test_a_grammar_whose_expectation_would_not_be_exact_is_refused(rules, said):
    with pytest.raises(GlassformerError, match=said):
        Grammar({"k": 1}, rules, {"dog": Pool(("rex",))})
