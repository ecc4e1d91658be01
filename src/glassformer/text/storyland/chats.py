"""Conversations about little stories, whose every answer the story decides.

A person tells of two or three animals and asks about them, one question after another; some lean on
what was asked before ("And the dog?", "What colour is it?"), and some ask for what the story does
not say. Every reply has two right forms, a sentence and a few words, each as probable as the other,
so its surprise is ln 2 and a model's floor is known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from glassformer.text.storyland.grammar import (
    ANIMALS,
    COATS,
    DID,
    HOMES,
    OWNERS,
    PETS,
    TREATS,
)

BASES = {
    "sat": "sit",
    "drank": "drink",
    "slept": "sleep",
    "climbed": "climb",
    "ran": "run",
    "found": "find",
    "barked": "bark",
    "laid": "lay",
    "ate": "eat",
    "swam": "swim",
    "walked": "walk",
    "rolled": "roll",
    "jumped": "jump",
    "hopped": "hop",
    "hid": "hide",
    "dug": "dig",
    "sang": "sing",
    "caught": "catch",
}
"""What a verb in a question with "did" is, by its past."""

QUESTIONS = (2, 3, 4, 5)
"""How many a conversation may have, each as probable."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: what is said, the other form that is as right, and the kind of question.

    `wrong` is said in the form of `text` and is not what the story says; empty where none is wrong.
    """

    text: str
    other: str
    kind: str
    wrong: str = ""

    @property
    def forms(self) -> tuple[str, str]:
        """Both right forms, the sentence before the few words."""
        longer, shorter = sorted((self.text, self.other), key=len, reverse=True)
        return longer, shorter


@dataclass(frozen=True, slots=True)
class Chat:
    """What a person says, message by message, and the replies."""

    prompts: tuple[str, ...]
    replies: tuple[Reply, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """As a row of data has them."""
        return [
            {"role": role, "content": content}
            for prompt, reply in zip(self.prompts, self.replies, strict=True)
            for role, content in (("user", prompt), ("assistant", reply.text))
        ]

    @property
    def nats(self) -> float:
        """The surprise of all replies together, -log p: of two forms each, one was drawn."""
        return math.log(2) * len(self.replies)


@dataclass(frozen=True, slots=True)
class Animal:
    """One of a story: somebody's, or with a name, a home and what it loves."""

    name: str
    coat: str
    deed: str
    owner: str = ""
    pet: str = ""
    home: str = ""
    treat: str = ""

    @property
    def introduced(self) -> str:
        if self.owner:
            return f"{self.owner} has a {self.coat} {self.name}."
        said = f"{self.pet} is a {self.coat} {self.name}."
        return f"{said} {self.pet} lives {self.home} and loves {self.treat}."

    @property
    def did(self) -> str:
        return f"The {self.name} {self.deed}."


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, about which animal, and the two forms of its answer, right and wrong."""

    text: str
    sentence: str
    words: str
    kind: str
    wrong: tuple[str, str]
    about: Animal | None = None


def chats(seed: int | str) -> Iterator[Chat]:
    """Conversations without end; the seed decides every one of them.

    >>> chat = next(chats(1))
    >>> chat == next(chats(1)), len(chat.prompts) == len(chat.replies)
    (True, True)
    """
    draw = random.Random(f"storyland chats {seed}")
    while True:
        yield _chat(draw)


def story(draw: random.Random) -> tuple[list[Animal], str]:
    """Two or three animals that differ in all, and the story of them."""
    n = draw.choice((2, 3))
    names, coats, owners, pets, homes, treats = (
        draw.sample(pool, n) for pool in (ANIMALS, COATS, OWNERS, PETS, HOMES, TREATS)
    )
    animals: list[Animal] = []
    for i, name in enumerate(names):
        taken = {animal.deed for animal in animals}
        deed = draw.choice([deed for deed in DID[name] if deed not in taken])
        if draw.random() < 0.6:
            animals.append(Animal(name, coats[i], deed, owner=owners[i]))
        else:
            more = {"pet": pets[i], "home": homes[i], "treat": treats[i]}
            animals.append(Animal(name, coats[i], deed, **more))
    deeds = draw.sample(animals, n)
    sentences = (*(one.introduced for one in animals), *(one.did for one in deeds))
    return animals, " ".join(sentences)


def _chat(draw: random.Random) -> Chat:
    animals, text_of_story = story(draw)
    prompts: list[str] = []
    replies: list[Reply] = []

    def say(
        prompt: str, sentence: str, words: str, kind: str, wrong: tuple[str, str] = ("", "")
    ) -> None:
        longer = draw.random() < 0.5
        text, other = (sentence, words) if longer else (words, sentence)
        prompts.append(prompt)
        replies.append(Reply(text, other, kind, wrong[0] if longer else wrong[1]))

    if draw.random() < 0.25:
        say("Hello.", "Hello! Tell me a story.", "Hello!", "manners")
    before: Question | None = None
    for number in range(draw.choice(QUESTIONS)):
        asked = question(draw, animals, before)
        before = asked
        prompt = f"{text_of_story} {asked.text}" if number == 0 else asked.text
        say(prompt, asked.sentence, asked.words, asked.kind, asked.wrong)
    if draw.random() < 0.25:
        say("Thank you.", "You are welcome. Goodbye!", "You are welcome.", "manners")
    return Chat(tuple(prompts), tuple(replies))


def question(draw: random.Random, animals: list[Animal], before: Question | None) -> Question:
    """A question about a story; one that leans on `before` where that was about an animal."""
    one = draw.choice(animals)
    if before is not None and before.about is not None and draw.random() < 0.35:
        return _leaning(draw, animals, before, before.about)
    other = _next(animals, one)
    of_story: list[Callable[[], Question]] = [
        lambda: _colour(one, other, f"What colour is {one.pet or f'the {one.name}'}?"),
        lambda: _deed(one, other, f"What did the {one.name} do?"),
        lambda: _doer(one, other),
        lambda: _whether(draw, animals, one, other),
        lambda: _is(draw, one, other),
        lambda: _unknown(draw, animals),
    ]
    if one.owner:
        of_story += [lambda: _owner(one, other), lambda: _nameless(one, other)]
    else:
        of_story += [
            lambda: _home(one, other),
            lambda: _treat(one, other),
            lambda: _called(one, other),
        ]
    return draw.choice(of_story)()


def _next(animals: list[Animal], one: Animal) -> Animal:
    """Another animal of the story, of which what is asked about this one would be wrong."""
    return animals[(animals.index(one) + 1) % len(animals)]


def _leaning(
    draw: random.Random, animals: list[Animal], before: Question, about: Animal
) -> Question:
    other = draw.choice([animal for animal in animals if animal is not about])
    and_other = f"And the {other.name}?"
    if before.kind == "what colour" and draw.random() < 0.5:
        return _colour(other, about, and_other)
    if before.kind == "what did" and draw.random() < 0.5:
        return _deed(other, about, and_other)
    if draw.random() < 0.5:
        return _colour(about, other, "What colour is it?")
    return _deed(about, other, "What did it do?")


def _colour(one: Animal, other: Animal, text: str) -> Question:
    right, wrong = ((f"It is {a.coat}.", f"{capital(a.coat)}.") for a in (one, other))
    return Question(text, *right, "what colour", wrong, one)


def _deed(one: Animal, other: Animal, text: str) -> Question:
    right, wrong = ((f"The {one.name} {a.deed}.", f"It {a.deed}.") for a in (one, other))
    return Question(text, *right, "what did", wrong, one)


def _doer(one: Animal, other: Animal) -> Question:
    right, wrong = ((f"The {a.name} {one.deed}.", f"The {a.name}.") for a in (one, other))
    return Question(f"Who {one.deed}?", *right, "who did", wrong, one)


def _whether(draw: random.Random, animals: list[Animal], one: Animal, other: Animal) -> Question:
    """Did it? What it did, or what another animal did or might have done."""
    deed = one.deed
    if draw.random() < 0.5:
        others = [animal.deed for animal in animals] + [*DID[one.name]]
        deed = draw.choice([other for other in others if other != one.deed])
    past, _, rest = deed.partition(" ")
    asked = f"Did the {one.name} {BASES[past]} {rest}?"
    right, wrong = _yes_or_no("it", one.deed, deed, other.deed)
    return Question(asked, *right, "did it", wrong, one)


def _yes_or_no(it: str, so: str, asked: str, also: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two forms of what is right, and of what is wrong: it agrees with itself, as a lie does.

    so: what the story says; asked: what the question says; also: what is said of another animal.
    """
    yes = (f"Yes, {it} {asked}.", "Yes.")
    no = (f"No, {it} {also if asked == so else so}.", "No.")
    return (yes, no) if asked == so else (no, yes)


def _is(draw: random.Random, one: Animal, other: Animal) -> Question:
    coat = one.coat if draw.random() < 0.5 else draw.choice([c for c in COATS if c != one.coat])
    asked = f"Is the {one.name} {coat}?"
    right, wrong = _yes_or_no("it is", one.coat, coat, other.coat)
    return Question(asked, *right, "is it", wrong, one)


def _owner(one: Animal, other: Animal) -> Question:
    asked = f"Who has the {one.name}?"
    names = (one.owner, other.owner or other.pet)
    right, wrong = ((f"{name} has the {one.name}.", f"{name}.") for name in names)
    return Question(asked, *right, "who has", wrong, one)


NOT_SAID = ("The story does not say.", "I do not know.")


def _nameless(one: Animal, other: Animal) -> Question:
    asked = f"What is the {one.name} called?"
    return Question(asked, *NOT_SAID, "not said", _named(other.pet or other.owner), one)


def _called(one: Animal, other: Animal) -> Question:
    asked = f"What is the {one.name} called?"
    wrong = _named(other.pet or other.owner)
    return Question(asked, *_named(one.pet), "what called", wrong, one)


def _named(name: str) -> tuple[str, str]:
    return f"It is called {name}.", f"{name}."


def _home(one: Animal, other: Animal) -> Question:
    asked = f"Where does {one.pet} live?"
    homes = (one.home, other.home or _after(HOMES, one.home))
    right, wrong = ((f"{one.pet} lives {home}.", f"{capital(home)}.") for home in homes)
    return Question(asked, *right, "where", wrong, one)


def _treat(one: Animal, other: Animal) -> Question:
    asked = f"What does {one.pet} love?"
    treats = (one.treat, other.treat or _after(TREATS, one.treat))
    right, wrong = ((f"{one.pet} loves {treat}.", f"{capital(treat)}.") for treat in treats)
    return Question(asked, *right, "what loves", wrong, one)


def _after(pool: Sequence[str], one: str) -> str:
    """The next of a pool, which the story has not."""
    return pool[(pool.index(one) + 1) % len(pool)]


def _unknown(draw: random.Random, animals: list[Animal]) -> Question:
    """About an animal that the story has not."""
    name = draw.choice([name for name in ANIMALS if name not in {a.name for a in animals}])
    first = animals[0]
    who = first.owner or first.pet
    asked, wrong = draw.choice(
        (
            (f"Who has the {name}?", (f"{who} has the {name}.", f"{who}.")),
            (f"What colour is the {name}?", (f"It is {first.coat}.", f"{capital(first.coat)}.")),
            (f"What did the {name} do?", (f"The {name} {first.deed}.", f"It {first.deed}.")),
        )
    )
    return Question(asked, *NOT_SAID, "not said", wrong)


def capital(words: str) -> str:
    """Words as they begin a sentence.

    >>> capital("in a barn")
    'In a barn'
    """
    return words[:1].upper() + words[1:]
