"""Prompts with examples of a translation: what they show, what is asked, how probable they are."""

from itertools import islice
from math import log

import pytest

from glassformer.model import load_preset
from glassformer.text.translation import pairs, prompts
from glassformer.text.translation.lexicon import LEXICON

PROMPTS = [*islice(prompts.prompts("test"), 400)]


def of_kind(kind: str) -> list[prompts.Prompt]:
    return [prompt for prompt in PROMPTS if prompt.kind == kind]


@pytest.mark.parametrize("kind", prompts.KINDS)
def test_every_target_is_an_answer_with_the_examples_before_it(kind):
    for prompt in of_kind(kind):
        document = prompt.document
        assert [document.text[a.start : a.end] for a in document.answers] == [
            example.target for example in prompt.examples
        ]
        for index, (answer, example) in enumerate(
            zip(document.answers, prompt.examples, strict=True)
        ):
            before = document.text[: answer.start]
            assert before.endswith(f"english: {example.source} {kind}: ")
            same = [e for e in prompt.examples[:index] if e.source == example.source]
            assert answer.n_examples == (len(same) if kind == "secret" else index)


def test_a_foreign_prompt_is_in_one_language_and_a_secret_word_means_one_thing_in_its_prompt():
    known = [dict[str, str](), dict[str, str]()]
    for language, texts in zip(prompts.LANGUAGES, known, strict=True):
        for pair in islice(pairs("all", language), 4_000):
            texts[pair.source] = pair.target
    several = 0
    for prompt in of_kind("foreign"):
        theirs = [e for e in prompt.examples if e.source in known[0] and e.source in known[1]]
        fits = [all(e.target == texts[e.source] for e in theirs) for texts in known]
        assert fits.count(True) >= 1
        several += len(theirs)
    assert several > 20
    meanings: dict[str, set[str]] = {}
    for prompt in of_kind("secret"):
        secret = {(e.source, e.target) for e in prompt.examples}
        assert len({source for source, _ in secret}) == len(secret) <= prompts.SECRETS
        for source, target in secret:
            meanings.setdefault(source, set()).add(target)
    assert all(len(targets) > 3 for targets in meanings.values())


def test_the_surprise_of_a_prompt_is_that_of_its_choices():
    kinds = {noun.singular: noun.kind for noun in prompts.NOUNS}
    for prompt in of_kind("french"):
        nats = log(3) + log(prompts.MOST - prompts.LEAST + 1)
        for example in prompt.examples:
            words = example.source.split()
            if words[0] != "the":
                nats += log(5) + log(6)  # one of six greetings
                continue
            kind = kinds[words[1]]
            verbs = sum(kind in verb.by for verb in prompts.VERBS)
            adjectives = sum(kind in adjective.kinds for adjective in LEXICON.adjectives)
            nats += log(5 / 2) + log(len(kinds)) + log(adjectives if words[2] == "is" else verbs)
        assert prompt.nats == pytest.approx(nats, rel=1e-12)


def test_a_prompt_fits_the_presets_context():
    n_ctx = load_preset("translation-in-context")["model"]["n_ctx"]
    assert max(len(p.document.text.replace(":", " :").split()) for p in PROMPTS) < n_ctx
