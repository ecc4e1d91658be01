"""Conversations about little stories, whose every answer the story decides.

A person tells of two or three animals and asks about them, one question after another; some lean on
what was asked before ("And the dog?", "What colour is it?"), and some ask for what the story does
not say. Every reply has two right forms, a sentence and a few words, each as probable as the other,
so its surprise is ln 2 and a model's floor is known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
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
    """A reply: what is said, the other form that is as right, and the kind of question."""

    text: str
    other: str
    kind: str

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
    """What is asked, about which animal, and the two forms of its answer."""

    text: str
    sentence: str
    words: str
    kind: str
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
    animals, told = story(draw)
    prompts: list[str] = []
    replies: list[Reply] = []

    def say(prompt: str, sentence: str, words: str, kind: str) -> None:
        text, other = (sentence, words) if draw.random() < 0.5 else (words, sentence)
        prompts.append(prompt)
        replies.append(Reply(text, other, kind))

    if draw.random() < 0.25:
        say("Hello.", "Hello! Tell me a story.", "Hello!", "manners")
    before: Question | None = None
    for number in range(draw.choice(QUESTIONS)):
        asked = question(draw, animals, before)
        before = asked
        prompt = f"{told} {asked.text}" if number == 0 else asked.text
        say(prompt, asked.sentence, asked.words, asked.kind)
    if draw.random() < 0.25:
        say("Thank you.", "You are welcome. Goodbye!", "You are welcome.", "manners")
    return Chat(tuple(prompts), tuple(replies))


def question(draw: random.Random, animals: list[Animal], before: Question | None) -> Question:
    """A question about a story; one that leans on `before` where that was about an animal."""
    one = draw.choice(animals)
    if before is not None and before.about is not None and draw.random() < 0.35:
        return _leaning(draw, animals, before, before.about)
    of_story: list[Callable[[], Question]] = [
        lambda: _colour(one, f"What colour is {one.pet or f'the {one.name}'}?"),
        lambda: _deed(one, f"What did the {one.name} do?"),
        lambda: _doer(one),
        lambda: _whether(draw, animals, one),
        lambda: _is(draw, one),
        lambda: _unknown(draw, animals),
    ]
    if one.owner:
        of_story += [lambda: _owner(one), lambda: _nameless(one)]
    else:
        of_story += [lambda: _home(one), lambda: _treat(one), lambda: _called(one)]
    return draw.choice(of_story)()


def _leaning(
    draw: random.Random, animals: list[Animal], before: Question, about: Animal
) -> Question:
    other = draw.choice([animal for animal in animals if animal is not about])
    and_other = f"And the {other.name}?"
    if before.kind == "what colour" and draw.random() < 0.5:
        return _colour(other, and_other)
    if before.kind == "what did" and draw.random() < 0.5:
        return _deed(other, and_other)
    if draw.random() < 0.5:
        return _colour(about, "What colour is it?")
    return _deed(about, "What did it do?")


def _colour(one: Animal, text: str) -> Question:
    return Question(text, f"It is {one.coat}.", f"{capital(one.coat)}.", "what colour", one)


def _deed(one: Animal, text: str) -> Question:
    return Question(text, f"The {one.name} {one.deed}.", f"It {one.deed}.", "what did", one)


def _doer(one: Animal) -> Question:
    answer = f"The {one.name}"
    return Question(f"Who {one.deed}?", f"{answer} {one.deed}.", f"{answer}.", "who did", one)


def _whether(draw: random.Random, animals: list[Animal], one: Animal) -> Question:
    """Did it? What it did, or what another animal did or might have done."""
    deed = one.deed
    if draw.random() < 0.5:
        others = [animal.deed for animal in animals] + [*DID[one.name]]
        deed = draw.choice([other for other in others if other != one.deed])
    yes = "Yes" if deed == one.deed else "No"
    past, _, rest = deed.partition(" ")
    asked = f"Did the {one.name} {BASES[past]} {rest}?"
    return Question(asked, f"{yes}, it {one.deed}.", f"{yes}.", "did it", one)


def _is(draw: random.Random, one: Animal) -> Question:
    coat = one.coat if draw.random() < 0.5 else draw.choice([c for c in COATS if c != one.coat])
    yes = "Yes" if coat == one.coat else "No"
    asked = f"Is the {one.name} {coat}?"
    return Question(asked, f"{yes}, it is {one.coat}.", f"{yes}.", "is it", one)


def _owner(one: Animal) -> Question:
    asked = f"Who has the {one.name}?"
    return Question(asked, f"{one.owner} has the {one.name}.", f"{one.owner}.", "who has", one)


def _nameless(one: Animal) -> Question:
    asked = f"What is the {one.name} called?"
    return Question(asked, "The story does not say.", "I do not know.", "not said", one)


def _called(one: Animal) -> Question:
    asked = f"What is the {one.name} called?"
    return Question(asked, f"It is called {one.pet}.", f"{one.pet}.", "what called", one)


def _home(one: Animal) -> Question:
    asked = f"Where does {one.pet} live?"
    return Question(asked, f"{one.pet} lives {one.home}.", f"{capital(one.home)}.", "where", one)


def _treat(one: Animal) -> Question:
    asked = f"What does {one.pet} love?"
    return Question(
        asked, f"{one.pet} loves {one.treat}.", f"{capital(one.treat)}.", "what loves", one
    )


def _unknown(draw: random.Random, animals: list[Animal]) -> Question:
    """About an animal that the story has not."""
    name = draw.choice([name for name in ANIMALS if name not in {a.name for a in animals}])
    asked = draw.choice(
        (f"Who has the {name}?", f"What colour is the {name}?", f"What did the {name} do?")
    )
    return Question(asked, "The story does not say.", "I do not know.", "not said")


def capital(words: str) -> str:
    """Words as they begin a sentence.

    >>> capital("in a barn")
    'In a barn'
    """
    return words[:1].upper() + words[1:]
