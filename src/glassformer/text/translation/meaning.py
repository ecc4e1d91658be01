"""What a sentence says, drawn choice by choice, and how that is said in English."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glassformer.text.translation.choosing import Choose, evenly
from glassformer.text.translation.lexicon import (
    ADVERBS,
    GREETINGS,
    NAMES,
    PERSON,
    PREPOSITIONS,
    Adjective,
    Lexicon,
    Noun,
    Verb,
)

PRONOUNS = ("I", "you", "he", "she", "we", "they")
SINGULAR = [(2, "the"), (1, "a"), (1, "my"), (1, "our")]
PLURAL = [(2, "the"), (1, "some"), (1, "my"), (1, "our")]


@dataclass(frozen=True)
class NounPhrase:
    """As "the black cats": `determiner` is the, a, some, my or our."""

    noun: Noun
    plural: bool
    determiner: str
    adjective: Adjective | None


@dataclass(frozen=True)
class Subject:
    """Who does it: one of a pronoun, a name and a noun phrase."""

    pronoun: str | None = None
    name: str | None = None
    phrase: NounPhrase | None = None

    @property
    def third(self) -> bool:
        """Whether it is he, she or it."""
        if self.phrase is not None:
            return not self.phrase.plural
        return self.pronoun in (None, "he", "she")


@dataclass(frozen=True)
class Action:
    """What is done: by whom, to what, how often and where."""

    subject: Subject
    verb: Verb
    negated: bool
    object: NounPhrase | None = None
    adverb: str | None = None
    place: tuple[str, Noun] | None = None


@dataclass(frozen=True)
class Property:
    """What somebody or something is like."""

    subject: Subject
    adjective: Adjective
    negated: bool


@dataclass(frozen=True)
class Greeting:
    word: str
    name: str | None


@dataclass(frozen=True)
class Meaning:
    """`written`: with a capital and a full stop, else as one types it in a hurry."""

    said: Action | Property | Greeting
    written: bool


def meaning(choose: Choose, lexicon: Lexicon) -> Meaning:
    """Draw what is said."""
    kinds: list[tuple[int, Callable[[Choose, Lexicon], Action | Property | Greeting]]]
    kinds = [(1, _greeting), (2, _property), (3, _intransitive), (5, _transitive)]
    kind = choose(kinds)
    return Meaning(kind(choose, lexicon), choose([(2, True), (1, False)]))


def _greeting(choose: Choose, _lexicon: Lexicon) -> Greeting:
    return Greeting(choose(evenly(GREETINGS)), choose([(4, None), *evenly(NAMES)]))


def _property(choose: Choose, lexicon: Lexicon) -> Property:
    subject = _subject(choose, lexicon, None)
    kind = PERSON if subject.phrase is None else subject.phrase.noun.kind
    fitting = evenly(a for a in lexicon.adjectives if kind in a.kinds)
    return Property(subject, choose(fitting), _negated(choose))


def _intransitive(choose: Choose, lexicon: Lexicon) -> Action:
    verb = choose(evenly(v for v in lexicon.verbs if not v.of))
    negated = _negated(choose)
    place = choose([(1, True), (1, False)])
    return Action(
        _subject(choose, lexicon, verb.by),
        verb,
        negated,
        adverb=None if negated else choose([(3, None), *evenly(ADVERBS)]),
        place=_place(choose, lexicon) if place else None,
    )


def _transitive(choose: Choose, lexicon: Lexicon) -> Action:
    verb = choose(evenly(v for v in lexicon.verbs if v.of))
    negated = _negated(choose)
    return Action(
        _subject(choose, lexicon, verb.by),
        verb,
        negated,
        _noun_phrase(choose, lexicon, verb.of),
        adverb=None if negated else choose([(3, None), *evenly(ADVERBS)]),
    )


def _negated(choose: Choose) -> bool:
    return choose([(2, False), (1, True)])


def _place(choose: Choose, lexicon: Lexicon) -> tuple[str, Noun]:
    """A preposition and a noun that goes with it."""
    by_name = {noun.singular: noun for noun in lexicon.nouns}
    fitting = {
        preposition: [by_name[name] for name in names if name in by_name]
        for preposition, (_, _, names) in PREPOSITIONS.items()
    }
    preposition = choose(evenly(name for name, nouns in fitting.items() if nouns))
    return preposition, choose(evenly(fitting[preposition]))


def _subject(choose: Choose, lexicon: Lexicon, kinds: Sequence[str] | None) -> Subject:
    """A subject of one of some kinds; None: of any."""
    sort = choose([(4, "phrase"), (2, "pronoun"), (1, "name")])
    if sort == "pronoun":
        return Subject(pronoun=choose(evenly(PRONOUNS)))
    if sort == "name":
        return Subject(name=choose(evenly(NAMES)))
    return Subject(phrase=_noun_phrase(choose, lexicon, kinds))


def _noun_phrase(choose: Choose, lexicon: Lexicon, kinds: Sequence[str] | None) -> NounPhrase:
    noun = choose(evenly(n for n in lexicon.nouns if kinds is None or n.kind in kinds))
    plural = choose([(2, False), (1, True)])
    determiner = choose(PLURAL if plural else SINGULAR)
    adjective = None
    if choose(evenly((True, False))):
        adjective = choose(evenly(a for a in lexicon.adjectives if noun.kind in a.kinds))
    return NounPhrase(noun, plural, determiner, adjective)


def english(said: Action | Property | Greeting) -> list[str]:
    """The words of an English sentence, which says all that is meant."""
    match said:
        case Greeting(word, name):
            return word.split() + ([] if name is None else [",", name])
        case Property(subject, adjective, negated):
            be = "am" if subject.pronoun == "I" else "is" if subject.third else "are"
            return [*_english_subject(subject), be, *["not"] * negated, adjective.english]
        case Action(subject, verb, negated):
            base, third = verb.english.split(), verb.third.split()
            if negated:
                done = ["does" if subject.third else "do", "not", *base]
            else:
                done = third if subject.third else base
            return [
                *_english_subject(subject),
                *([] if said.adverb is None else [said.adverb]),
                *done,
                *([] if said.object is None else _english_phrase(said.object, negated)),
                *([] if said.place is None else [said.place[0], "the", said.place[1].singular]),
            ]


def _english_subject(subject: Subject) -> list[str]:
    if subject.phrase is not None:
        return _english_phrase(subject.phrase)
    return [subject.pronoun or subject.name or ""]


def _english_phrase(phrase: NounPhrase, negated: bool = False) -> list[str]:
    adjective = [] if phrase.adjective is None else [phrase.adjective.english]
    noun = phrase.noun.plural if phrase.plural else phrase.noun.singular
    first = (adjective or [noun])[0]
    determiner = phrase.determiner
    if determiner == "a" and first[0] in "aeiou":
        determiner = "an"
    if determiner == "some" and negated:
        determiner = "any"
    return [determiner, *adjective, noun]
