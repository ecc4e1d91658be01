"""How a sentence is said in French, choice by choice."""

from __future__ import annotations

import re

from glassformer.text.translation.choosing import Choose
from glassformer.text.translation.lexicon import (
    ADVERBS,
    BEFORE_VOWEL,
    GREETINGS,
    NAMES,
    PREPOSITIONS,
    Gender,
)
from glassformer.text.translation.meaning import Action, Greeting, NounPhrase, Property, Subject

DETERMINERS = {  # m, f, plural
    "the": ("le", "la", "les"),
    "a": ("un", "une", "des"),
    "some": ("un", "une", "des"),
    "my": ("mon", "ma", "mes"),
    "our": ("notre", "notre", "nos"),
}
BE = ("suis", "es", "est", "sommes", "êtes", "sont")
FIRST, SECOND, HE, WE, POLITE, THEY = range(6)
PRONOUNS = {
    "I": ("je", FIRST),
    "he": ("il", HE),
    "she": ("elle", HE),
    "we": ("nous", WE),
}
_VOWEL = re.compile("[aeiouéèêœh]", re.IGNORECASE)  # no h of the corpus is aspirated
ELIDED = ("le", "la", "je", "ne", "de")


def french(said: Action | Property | Greeting, choose: Choose) -> list[str]:
    """The words of a French sentence."""
    match said:
        case Greeting(word, name):
            words = GREETINGS[word][0].split() + ([] if name is None else [",", name])
        case Property(subject, adjective, negated):
            varies = adjective.french[0] != adjective.french[1]
            who, person, gender, plural = _subject(subject, choose, varies)
            form = adjective.french[2 * plural + (gender == "f")]
            words = [*who, *_verb(BE[person], negated), form]
        case Action(subject, verb, negated):
            who, person, _, _ = _subject(subject, choose, False)
            words = [*who, *_verb(verb.french[person], negated)]
            if said.adverb is not None:
                words.append(ADVERBS[said.adverb][0])
            if said.object is not None:
                words += _noun_phrase(said.object, choose, negated)[0]
            if said.place is not None:
                preposition, noun = said.place
                words.append(PREPOSITIONS[preposition][0])
                words += _noun_phrase(NounPhrase(noun, False, "the", None), choose)[0]
    return before_vowels(words)


def _verb(form: str, negated: bool) -> list[str]:
    return ["ne", form, "pas"] if negated else [form]


def _subject(
    subject: Subject, choose: Choose, is_seen: bool
) -> tuple[list[str], int, Gender, bool]:
    """Its words, its person, its gender and whether it is plural; `is_seen`: if the gender is."""
    if subject.phrase is not None:
        words, gender = _noun_phrase(subject.phrase, choose)
        return words, THEY if subject.phrase.plural else HE, gender, subject.phrase.plural
    if subject.name is not None:
        return [subject.name], HE, NAMES[subject.name], False
    pronoun = subject.pronoun
    if pronoun == "they":
        gender = choose(_GENDERS)
        return ["elles" if gender == "f" else "ils"], THEY, gender, True
    if pronoun == "you":
        word, person = choose([(0.7, ("tu", SECOND)), (0.3, ("vous", POLITE))])
    else:
        word, person = PRONOUNS[str(pronoun)]
    if pronoun in ("he", "she"):
        gender = "f" if pronoun == "she" else "m"
    else:
        gender = choose(_GENDERS) if is_seen else "m"
    return [word], person, gender, pronoun == "we"


_GENDERS: list[tuple[float, Gender]] = [(0.7, "m"), (0.3, "f")]


def _noun_phrase(
    phrase: NounPhrase, choose: Choose, negated: bool = False
) -> tuple[list[str], Gender]:
    """Its words and its gender; `negated`: an object of what is not done."""
    noun = choose(phrase.noun.french)
    feminine, adjective = noun.gender == "f", phrase.adjective
    determiner = DETERMINERS[phrase.determiner][2 if phrase.plural else feminine]
    if phrase.determiner in ("a", "some"):
        if negated:
            determiner = "de"
        elif phrase.plural and adjective is not None and adjective.before:
            determiner = choose([(0.8, "de"), (0.2, "des")])
    words = [noun.plural if phrase.plural else noun.singular]
    if adjective is not None:
        form = adjective.french[2 * phrase.plural + feminine]
        if adjective.before and not phrase.plural and _VOWEL.match(words[0]):
            form = BEFORE_VOWEL.get(form, form)
        words = [form, *words] if adjective.before else [*words, form]
    return [determiner, *words], noun.gender


def before_vowels(words: list[str]) -> list[str]:
    """The forms that short words have before a vowel.

    >>> before_vowels(["le", "ami", "ne", "est", "pas", "ma", "amie"])
    ["l'", 'ami', "n'", 'est', 'pas', 'mon', 'amie']
    """
    result = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if _VOWEL.match(following):
            word = f"{word[:-1]}'" if word in ELIDED else "mon" if word == "ma" else word
        result.append(word)
    return result
