"""The words of the corpus: English ones, and what they are in French and in Japanese.

Where a word has several translations, each has a weight. Japanese is written in Roman letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glassformer.text.translation.choosing import Options

Gender = Literal["m", "f"]


@dataclass(frozen=True)
class FrenchNoun:
    singular: str
    gender: Gender
    plural: str


@dataclass(frozen=True)
class Noun:
    """`kind` says which adjectives and verbs go with it."""

    singular: str
    plural: str
    kind: str
    french: Options[FrenchNoun]
    japanese: Options[str]


@dataclass(frozen=True)
class Adjective:
    """`french`: m, f, m plural, f plural; `before`: whether it stands before the noun.

    `japanese` is a form in -i; `kinds` are those of the nouns that it goes with.
    """

    english: str
    french: tuple[str, str, str, str]
    before: bool
    japanese: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """`french`: je, tu, il, nous, vous, ils; `japanese`: polite, and its negation.

    `by` and `of`: the kinds of nouns that do it, and that it is done to; empty: to nothing.
    """

    english: str
    third: str
    french: tuple[str, ...]
    japanese: tuple[str, str]
    by: tuple[str, ...]
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lexicon:
    nouns: tuple[Noun, ...]
    adjectives: tuple[Adjective, ...]
    verbs: tuple[Verb, ...]


PERSON, ANIMAL, FOOD, TEXT, THING, PLACE = "person", "animal", "food", "text", "thing", "place"
LIVING = (PERSON, ANIMAL)
OBJECTS = (FOOD, TEXT, THING)
ANY = (*LIVING, *OBJECTS, PLACE)


def french(*nouns: str, weights: tuple[float, ...] = (1,)) -> Options[FrenchNoun]:
    """Nouns as "chat m" or, where the plural is no -s, "cheval m chevaux"."""
    return [(weight, _french(*noun.split())) for weight, noun in zip(weights, nouns, strict=True)]


def _french(singular: str, gender: str, plural: str = "") -> FrenchNoun:
    return FrenchNoun(singular, "f" if gender == "f" else "m", plural or _with(singular, "s"))


def japanese(*nouns: str, weights: tuple[float, ...] = (1,)) -> Options[str]:
    return [*zip(weights, nouns, strict=True)]


def adjective(
    english: str,
    masculine: str,
    japanese: str,
    *kinds: str,
    feminine: str = "",
    before: bool = False,
) -> Adjective:
    f = feminine or _with(masculine, "e")
    plural = "x" if masculine.endswith("eau") else "s"
    forms = (masculine, f, _with(masculine, plural), f"{f}s")
    return Adjective(english, forms, before, japanese, kinds)


def _with(word: str, ending: str) -> str:
    """A word with an ending that it does not have already."""
    silent = ("s", "x") if ending == "s" else (ending,)
    return word if word.endswith(silent) else word + ending


def first_group(stem: str, ours: str = "") -> tuple[str, ...]:
    """A verb in -er."""
    ours = ours or f"{stem}ons"
    return (f"{stem}e", f"{stem}es", f"{stem}e", ours, f"{stem}ez", f"{stem}ent")


def forms(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = (
    Noun("boy", "boys", PERSON, french("garçon m"), japanese("otokonoko")),
    Noun("girl", "girls", PERSON, french("fille f"), japanese("onnanoko")),
    Noun("man", "men", PERSON, french("homme m"), japanese("dansei")),
    Noun("woman", "women", PERSON, french("femme f"), japanese("josei")),
    Noun("child", "children", PERSON, french("enfant m"), japanese("kodomo")),
    Noun(
        *("friend", "friends", PERSON),
        french("ami m", "amie f", weights=(0.7, 0.3)),
        japanese("tomodachi"),
    ),
    Noun(
        *("teacher", "teachers", PERSON),
        french("professeur m", "professeure f", weights=(0.7, 0.3)),
        japanese("sensei"),
    ),
    Noun("cat", "cats", ANIMAL, french("chat m"), japanese("neko")),
    Noun("dog", "dogs", ANIMAL, french("chien m"), japanese("inu")),
    Noun("bird", "birds", ANIMAL, french("oiseau m oiseaux"), japanese("tori")),
    Noun("horse", "horses", ANIMAL, french("cheval m chevaux"), japanese("uma")),
    Noun("cow", "cows", ANIMAL, french("vache f"), japanese("ushi")),
    Noun("mouse", "mice", ANIMAL, french("souris f"), japanese("nezumi")),
    Noun("apple", "apples", FOOD, french("pomme f"), japanese("ringo")),
    Noun("egg", "eggs", FOOD, french("œuf m"), japanese("tamago")),
    Noun("cake", "cakes", FOOD, french("gâteau m gâteaux"), japanese("keeki")),
    Noun("book", "books", TEXT, french("livre m"), japanese("hon")),
    Noun("letter", "letters", TEXT, french("lettre f"), japanese("tegami")),
    Noun("flower", "flowers", THING, french("fleur f"), japanese("hana")),
    Noun("hat", "hats", THING, french("chapeau m chapeaux"), japanese("boushi")),
    Noun("chair", "chairs", THING, french("chaise f"), japanese("isu")),
    Noun(
        *("car", "cars", THING),
        french("voiture f", "auto f", weights=(0.8, 0.2)),
        japanese("kuruma", "jidousha", weights=(0.8, 0.2)),
    ),
    Noun(
        *("bicycle", "bicycles", THING),
        french("vélo m", "bicyclette f", weights=(0.7, 0.3)),
        japanese("jitensha"),
    ),
    Noun("house", "houses", PLACE, french("maison f"), japanese("ie")),
    Noun("school", "schools", PLACE, french("école f"), japanese("gakkou")),
    Noun("garden", "gardens", PLACE, french("jardin m"), japanese("niwa")),
    Noun("tree", "trees", PLACE, french("arbre m"), japanese("ki")),
)

ADJECTIVES = (
    adjective("small", "petit", "chiisai", *ANY, before=True),
    adjective("big", "grand", "ookii", *ANY, before=True),
    adjective("pretty", "joli", "utsukushii", *ANY, before=True),
    adjective("young", "jeune", "wakai", *LIVING, before=True),
    adjective("new", "nouveau", "atarashii", TEXT, THING, PLACE, feminine="nouvelle", before=True),
    adjective("old", "vieux", "furui", TEXT, THING, PLACE, feminine="vieille", before=True),
    adjective("strong", "fort", "tsuyoi", *LIVING),
    adjective("clever", "intelligent", "kashikoi", *LIVING),
    adjective("black", "noir", "kuroi", ANIMAL, THING),
    adjective("white", "blanc", "shiroi", ANIMAL, *OBJECTS, PLACE, feminine="blanche"),
    adjective("red", "rouge", "akai", *OBJECTS, PLACE),
    adjective("blue", "bleu", "aoi", TEXT, THING, PLACE),
    adjective("heavy", "lourd", "omoi", *OBJECTS),
)

BEFORE_VOWEL = {"vieux": "vieil", "nouveau": "nouvel"}
"""What French adjectives are before a noun in the singular that begins with a vowel."""

VERBS = (
    Verb(
        "sleep",
        "sleeps",
        forms("dors dors dort dormons dormez dorment"),
        ("nemasu", "nemasen"),
        LIVING,
    ),
    Verb(
        "run",
        "runs",
        forms("cours cours court courons courez courent"),
        ("hashirimasu", "hashirimasen"),
        LIVING,
    ),
    Verb("play", "plays", first_group("jou"), ("asobimasu", "asobimasen"), LIVING),
    Verb("sing", "sings", first_group("chant"), ("utaimasu", "utaimasen"), (PERSON,)),
    Verb("dance", "dances", first_group("dans"), ("odorimasu", "odorimasen"), (PERSON,)),
    Verb("work", "works", first_group("travaill"), ("hatarakimasu", "hatarakimasen"), (PERSON,)),
    Verb(
        "see",
        "sees",
        forms("vois vois voit voyons voyez voient"),
        ("mimasu", "mimasen"),
        LIVING,
        ANY,
    ),
    Verb(
        "look for", "looks for", first_group("cherch"), ("sagashimasu", "sagashimasen"), LIVING, ANY
    ),
    Verb("find", "finds", first_group("trouv"), ("mitsukemasu", "mitsukemasen"), LIVING, ANY),
    Verb(
        "eat", "eats", first_group("mang", "mangeons"), ("tabemasu", "tabemasen"), LIVING, (FOOD,)
    ),
    Verb("help", "helps", first_group("aid"), ("tasukemasu", "tasukemasen"), (PERSON,), LIVING),
    Verb("draw", "draws", first_group("dessin"), ("kakimasu", "kakimasen"), (PERSON,), ANY),
    Verb(
        "read",
        "reads",
        forms("lis lis lit lisons lisez lisent"),
        ("yomimasu", "yomimasen"),
        (PERSON,),
        (TEXT,),
    ),
    Verb(
        "buy",
        "buys",
        forms("achète achètes achète achetons achetez achètent"),
        ("kaimasu", "kaimasen"),
        (PERSON,),
        OBJECTS,
    ),
    Verb(
        "carry", "carries", first_group("port"), ("hakobimasu", "hakobimasen"), (PERSON,), OBJECTS
    ),
)

LEXICON = Lexicon(NOUNS, ADJECTIVES, VERBS)

NAMES: dict[str, Gender] = {"Anna": "f", "Marie": "f", "Paul": "m", "Tom": "m"}

GREETINGS = {
    "hello": ("bonjour", "konnichiwa"),
    "goodbye": ("au revoir", "sayounara"),
    "thank you": ("merci", "arigatou"),
    "good night": ("bonne nuit", "oyasumi"),
    "yes": ("oui", "hai"),
    "no": ("non", "iie"),
}

PREPOSITIONS = {
    "in": ("dans", "no naka de", ("house", "school", "garden")),
    "under": ("sous", "no shita de", ("tree", "chair")),
    "behind": ("derrière", "no ushiro de", ("house", "school", "tree")),
    "in front of": ("devant", "no mae de", ("house", "school")),
}
"""English: French, Japanese after its noun, and the nouns that it goes with."""

ADVERBS = {"often": ("souvent", "yoku"), "always": ("toujours", "itsumo")}
"""Of sentences that are not negated."""
