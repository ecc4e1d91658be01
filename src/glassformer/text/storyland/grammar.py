"""The words and rules of Storyland, as data.

Notation: see `derivation`. A template that continues a document begins with the space before it.
"""

from collections.abc import Callable

from glassformer.text.storyland.derivation import Pool, Templates

ANIMALS = ("cat", "dog", "hen", "duck", "pig", "pony", "rabbit", "frog")
FRUIT = ("apple", "plum", "pear", "lemon", "cherry", "fig")
COLOURS = ("red", "blue", "green", "yellow", "purple", "pink", "black", "white")
COATS = ("grey", "brown", "black", "white", "golden", "spotted")
OWNERS = ("Mia", "Tom", "Anna", "Ben", "Lily", "Sam")
PETS = ("Pip", "Rex", "Luna", "Coco", "Milo", "Daisy", "Toby", "Rosie")
HOMES = ("in a barn", "by a pond", "under a tree", "on a hill", "near a river", "in a garden")
TREATS = ("milk", "cheese", "corn", "honey", "bread", "apples", "hay", "soup")
INVENTED = ("zib", "tol", "mup", "dax", "fep", "wug")
MEANINGS = ("dog", "sun", "cat", "moon", "tree", "star", "milk", "bread")

POOLS = {
    "animal": Pool(ANIMALS),
    "fruit": Pool(FRUIT),
    "colour": Pool(COLOURS),
    "coat": Pool(COATS),
    "owner": Pool(OWNERS),
    "pet": Pool(PETS),
    "home": Pool(HOMES),
    "treat": Pool(TREATS),
    "invented": Pool(INVENTED),
    "meaning": Pool(MEANINGS),
}

# What each animal does in a story, most often first.
DID = {
    "cat": ("sat on the mat", "drank some milk", "slept on the bed", "climbed a tree"),
    "dog": ("ran in the park", "found a bone", "barked at the moon", "slept by the door"),
    "hen": ("laid an egg", "sat on the nest", "ate some corn", "ran in the yard"),
    "duck": ("swam in the pond", "sat on the nest", "ate some bread", "walked in the rain"),
    "pig": ("rolled in the mud", "ate an apple", "slept in the barn", "ran in the yard"),
    "pony": ("jumped over the gate", "ate some hay", "ran in the park", "slept in the barn"),
    "rabbit": ("hopped in the garden", "ate a carrot", "hid under the bush", "dug a hole"),
    "frog": ("jumped into the pond", "sang in the rain", "sat on a leaf", "caught a fly"),
}
DID_WEIGHTS = (5, 3, 2, 1)

# How each animal feels about the world, first the more usual.
LIKED = {
    "cat": ("mat", "bed"),
    "dog": ("park", "moon"),
    "hen": ("yard", "nest"),
    "duck": ("pond", "rain"),
    "pig": ("mud", "barn"),
    "pony": ("park", "hill"),
    "rabbit": ("garden", "bush"),
    "frog": ("pond", "rain"),
}

# The easiest, the hardest and the funniest trick to teach each animal.
TRICKS = {
    "cat": ("come", "swim", "dance"),
    "dog": ("sit", "climb", "sing"),
    "hen": ("walk", "swim", "bow"),
    "duck": ("swim", "climb", "spin"),
    "pig": ("roll", "jump", "bow"),
    "pony": ("walk", "roll", "bow"),
    "rabbit": ("jump", "come", "spin"),
    "frog": ("jump", "hide", "sing"),
}

STORIES: dict[str, Templates] = {
    "story": [
        (4, "<two owners>"),
        (3, "<one pet>"),
        (3, "<two friends>"),
    ],
    "two owners": [
        (
            1,
            "{owner1} has a {coat1} {animal1}. {owner2} has a {coat2} {animal2}."
            "<events><ending><owner questions>",
        )
    ],
    "two friends": [
        (
            1,
            "The {animal1}<did:animal1>. The {animal2}<did:animal2>."
            " The {animal1} and {animal2}<both did><feelings><ending><friend question>",
        )
    ],
    "one pet": [
        (
            1,
            "Once there was a {coat1} {animal1} called {pet1}."
            " {pet1} lived {home1} and loved {treat1}.<days><pet questions>",
        )
    ],
    "events": [(2, "<event>"), (2, "<event><event>"), (1, "<event><event><event>")],
    "event": [
        (3, " The {animal1}<did:animal1>."),
        (3, " The {animal2}<did:animal2>."),
        (3, " The {animal1} and {animal2}<both did>"),
        (1, " {owner1} and {owner2}<both did>"),
    ],
    "both did": [
        (4, " played together."),
        (2, " became friends."),
        (1, " played together. They became friends."),
        (1, " went for a walk."),
        (1, " sang a song."),
    ],
    "feelings": [(1, ""), (1, " The {animal1}<liked:animal1>. The {animal2}<liked:animal2>.")],
    "ending": [(3, ""), (1, " It was a good day."), (1, " Then they all went home.")],
    "days": [(2, "<day>"), (1, "<day><day>")],
    "day": [
        (2, " One day {pet1}<did:animal1>."),
        (1, " Every night {pet1}<did:animal1>."),
        (1, " Then {pet1}<did:animal1>."),
    ],
    "owner questions": [(1, "<owner question>"), (3, "<owner question><owner question>")],
    "owner question": [
        (2, " What colour is {owner1}'s {animal1}? {coat1!}."),
        (2, " What colour is {owner2}'s {animal2}? {coat2!}."),
        (1, " Who has the {animal1}? {owner1!}."),
        (1, " Who has the {animal2}? {owner2!}."),
    ],
    "friend question": [
        (2, ""),
        (1, " Who became friends? The {animal1!} and the {animal2!}."),
    ],
    "pet questions": [(1, "<pet question>"), (2, "<pet question><pet question>")],
    "pet question": [
        (1, " What colour was {pet1}? {coat1!}."),
        (1, " What was the {animal1} called? {pet1!}."),
        (1, " Where did {pet1} live? {home1!}."),
        (1, " What did {pet1} love? {treat1!}."),
    ],
    **{
        f"did {animal}": [(w, f" {did}") for w, did in zip(DID_WEIGHTS, deeds, strict=True)]
        for animal, deeds in DID.items()
    },
    **{
        f"liked {animal}": [(3, f" liked the {first}"), (1, f" liked the {second}")]
        for animal, (first, second) in LIKED.items()
    },
}


def lines(
    name: str, line: Callable[[int], Templates], least: int, most: int
) -> dict[str, Templates]:
    """Rules for a document of `least` to `most` lines, each of which may be its last (p = 1/8)."""
    rules: dict[str, Templates] = {}
    for number in range(1, most + 1):
        rules[f"{name} line {number}"] = [
            (weight, ("" if number == 1 else " ") + template) for weight, template in line(number)
        ]
        following = f"<{name} line {number + 1}><{name} after {number + 1}>"
        if number == most:
            rules[f"{name} after {number}"] = [(1, "")]
        elif number < least:
            rules[f"{name} after {number}"] = [(1, following)]
        else:
            rules[f"{name} after {number}"] = [(7, following), (1, "")]
    rules[name] = [(1, f"<{name} line 1><{name} after 1>")]
    return rules


def pairs(name: str, pair: str, repeat: str, pairs: int, lines: int) -> dict[str, Templates]:
    """Rules for lines that show a fresh pair (`#` is its number) or repeat one shown before.

    The document begins with two pairs; then each line is a fresh pair (until there are `pairs`), or
    any earlier pair again; it ends after `lines` lines at the latest.
    """
    fresh = [pair.replace("#", str(i)) for i in range(1, pairs + 1)]
    again = [repeat.replace("#", str(i)) for i in range(1, pairs + 1)]
    rules: dict[str, Templates] = {name: [(1, f"{fresh[0]} {fresh[1]}<{name} 2 of 2>")]}
    for shown in range(2, pairs + 1):
        rules[f"{name} again {shown}"] = [(1, f" {line}") for line in again[:shown]]
        for line in range(2, lines):
            more: list[tuple[float, str]] = [
                (6, f"<{name} again {shown}><{name} {shown} of {line + 1}>")
            ]
            if shown < pairs:
                more.append((2, f" {fresh[shown]}<{name} {shown + 1} of {line + 1}>"))
            if line > 4:
                more.append((1, ""))
            rules[f"{name} {shown} of {line}"] = more
        rules[f"{name} {shown} of {lines}"] = [(1, "")]
    return rules


def lesson(number: int) -> Templates:
    return [
        (2, f"the easiest trick to teach a {{animal{number}}} is<easiest:animal{number}>."),
        (1, f"the hardest trick to teach a {{animal{number}}} is<hardest:animal{number}>."),
        (1, f"the funniest trick to teach a {{animal{number}}} is<funniest:animal{number}>."),
    ]


KINDS = {"story": 4, "colours": 3, "words": 3, "tricks": 1}

RULES: dict[str, Templates] = {
    **STORIES,
    **pairs("colours", "{fruit#} is {colour#}.", "{fruit#} is {colour#!}.", pairs=3, lines=12),
    **pairs(
        "words",
        "{invented#} means {meaning#}.",
        "{invented#} means {meaning#!}.",
        pairs=3,
        lines=12,
    ),
    **lines("tricks", lesson, least=2, most=6),
    **{
        f"{grade} {animal}": [(1, f" {trick}")]
        for animal, tricks in TRICKS.items()
        for grade, trick in zip(("easiest", "hardest", "funniest"), tricks, strict=True)
    },
}
