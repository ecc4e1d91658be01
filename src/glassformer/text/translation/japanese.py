"""How a sentence is said in Japanese, choice by choice: the verb comes last.

Written in Roman letters, in the polite style.
"""

from __future__ import annotations

from glassformer.text.translation.choosing import Choose, Options
from glassformer.text.translation.lexicon import ADVERBS, GREETINGS, PREPOSITIONS
from glassformer.text.translation.meaning import Action, Greeting, NounPhrase, Property, Subject

PRONOUNS: dict[str | None, Options[str]] = {
    "I": [(0.8, "watashi"), (0.2, "boku")],
    "you": [(1, "anata")],
    "he": [(1, "kare")],
    "she": [(1, "kanojo")],
    "we": [(1, "watashitachi")],
    "they": [(1, "karera")],
}
OWNERS = {"my": ["watashi", "no"], "our": ["watashitachi", "no"]}
NOT: Options[list[str]] = [(0.7, ["nai", "desu"]), (0.3, ["arimasen"])]


def japanese(said: Action | Property | Greeting, choose: Choose) -> list[str]:
    """The words of a Japanese sentence."""
    match said:
        case Greeting(word, name):
            return [GREETINGS[word][1], *([] if name is None else [",", name])]
        case Property(subject, adjective, negated):
            stem = adjective.japanese[:-1]  # without its -i
            end = [f"{stem}ku", *choose(NOT)] if negated else [adjective.japanese, "desu"]
            return [*_subject(subject, choose), "wa", *end]
        case Action(subject, verb, negated):
            words = [*_subject(subject, choose), "wa"]
            if said.adverb is not None:
                words.append(ADVERBS[said.adverb][1])
            if said.place is not None:
                preposition, noun = said.place
                words += [choose(noun.japanese), *PREPOSITIONS[preposition][1].split()]
            if said.object is not None:
                words += [*_noun_phrase(said.object, choose), "o"]
            return [*words, verb.japanese[negated]]


def _subject(subject: Subject, choose: Choose) -> list[str]:
    if subject.phrase is not None:
        return _noun_phrase(subject.phrase, choose)
    return [subject.name or choose(PRONOUNS[subject.pronoun])]


def _noun_phrase(phrase: NounPhrase, choose: Choose) -> list[str]:
    adjective = [] if phrase.adjective is None else [phrase.adjective.japanese]
    return [*OWNERS.get(phrase.determiner, []), *adjective, choose(phrase.noun.japanese)]
