"""Prompts that show examples of a translation, for a decoder alone: each of a known probability.

"english: hello french: bonjour english: the cat sleeps french: le chat dort". What a prompt asks of
a model differs in three kinds of them:

french   the language is named, so nothing has to be learned from the prompt
foreign  it is French or Japanese, and only the examples tell which
secret   every word has a translation made up for this prompt, which only its examples tell
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from glassformer.text.storyland import Answer, Document
from glassformer.text.translation.choosing import Choose, Options, Value, drawing, evenly
from glassformer.text.translation.corpus import pair_of
from glassformer.text.translation.lexicon import GREETINGS, LEXICON, LIVING
from glassformer.text.translation.meaning import (
    Action,
    Greeting,
    Meaning,
    NounPhrase,
    Property,
    Subject,
)

KINDS = ("french", "foreign", "secret")  # equally often
LANGUAGES = ("french", "japanese")  # of foreign prompts
LEAST, MOST = 3, 6  # pairs in a prompt
SECRETS = 3  # words of a secret prompt, at most
WORDS = ("cat", "dog", "bird", "horse", "cow", "apple", "egg", "book", "hat", "chair", "car")
INVENTED = ("zib", "tol", "mup", "dax", "fep", "wug", "nar", "kel", "bof", "sil", "rom", "gav")

NOUNS = tuple(n for n in LEXICON.nouns if n.kind in LIVING and len(n.french) == 1)
VERBS = tuple(verb for verb in LEXICON.verbs if not verb.of)


class Example(NamedTuple):
    """A pair of a prompt; `n_examples` of what it asks stand before it.

    Those are the pairs before it; of a secret prompt, the ones that showed its word.
    """

    source: str
    target: str
    n_examples: int


@dataclass(frozen=True)
class Prompt:
    """Pairs of one kind, and -log p of all of it in nats."""

    kind: str
    examples: tuple[Example, ...]
    nats: float

    @property
    def document(self) -> Document:
        """Its text, in which every target is an answer."""
        text, answers = "", []
        for source, target, n_examples in self.examples:
            text += f"{' ' if text else ''}english: {source} {self.kind}: "
            answers.append(Answer(len(text), len(text) + len(target), n_examples))
            text += target
        return Document(text, self.nats, self.kind, tuple(answers))


def prompts(seed: int | str) -> Iterator[Prompt]:
    """Yield prompts without end; the seed decides every one of them.

    >>> prompt = next(prompts(seed=1))
    >>> prompt == next(prompts(seed=1)), prompt.examples[0].source
    (True, 'the mouse plays')
    """
    choose = _Counting(drawing(random.Random(f"prompts {seed}")))
    while True:
        choose.nats = 0.0
        kind = choose(evenly(KINDS))
        examples = _secret(choose) if kind == "secret" else _known(kind, choose)
        yield Prompt(kind, tuple(examples), choose.nats)


def documents(seed: int | str) -> Iterator[Document]:
    """The prompts of a seed as documents."""
    return (prompt.document for prompt in prompts(seed))


def at_best(kind: str, n_examples: int) -> float:
    """How often an answer can be right, on average, by one who knows all that can be known.

    >>> at_best("foreign", 0), at_best("foreign", 1)
    (0.5, 1.0)
    """
    if n_examples or kind == "french":
        return 1.0
    return 1 / len(LANGUAGES if kind == "foreign" else INVENTED)


def sentence(choose: Choose) -> Meaning:
    """Something short to say, of which every language here has one translation."""
    kind = choose([(1, Greeting), (2, Property), (2, Action)])
    if kind is Greeting:
        return Meaning(Greeting(choose(evenly(GREETINGS)), None), written=False)
    noun = choose(evenly(NOUNS))
    subject = Subject(phrase=NounPhrase(noun, False, "the", None))
    if kind is Action:
        fitting = [verb for verb in VERBS if noun.kind in verb.by]
        return Meaning(Action(subject, choose(evenly(fitting)), False), written=False)
    adjectives = [a for a in LEXICON.adjectives if noun.kind in a.kinds]
    return Meaning(Property(subject, choose(evenly(adjectives)), False), written=False)


def _known(kind: str, choose: Choose) -> Iterator[Example]:
    """Pairs of sentences in one language."""
    language = choose(evenly(LANGUAGES)) if kind == "foreign" else kind
    for n_examples in range(choose(evenly(range(LEAST, MOST + 1)))):
        pair = pair_of(sentence(choose), language, choose)
        yield Example(pair.source, pair.target, n_examples)


def _secret(choose: Choose) -> Iterator[Example]:
    """Pairs of a word and an invented one: two new ones, then mostly one that was shown."""
    words, invented = [*WORDS], [*INVENTED]
    secret: dict[str, str] = {}
    shown: Counter[str] = Counter()
    for number in range(choose(evenly(range(MOST, 2 * MOST)))):
        fresh = number < 2 or (len(secret) < SECRETS and choose([(1, True), (3, False)]))
        if fresh:
            word, other = choose(evenly(words)), choose(evenly(invented))
            words.remove(word)
            invented.remove(other)
            secret[word] = other
        else:
            word = choose(evenly(secret))
        yield Example(word, secret[word], shown[word])
        shown[word] += 1


class _Counting:
    """Chooses as another does, and sums what its choices take in nats."""

    def __init__(self, choose: Choose) -> None:
        self.choose, self.nats = choose, 0.0

    def __call__(self, options: Options[Value], /) -> Value:
        weights = [weight for weight, _ in options]
        number = self.choose([(weight, i) for i, weight in enumerate(weights)])
        self.nats += math.log(sum(weights) / weights[number])
        return options[number][1]
