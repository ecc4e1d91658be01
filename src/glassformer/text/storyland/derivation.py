"""A grammar whose every choice has a probability: write a text, read it back, expect its surprise.

A rule is a list of weighted templates. A template is plain text with two kinds of holes:

- `{animal1}`, a slot: at first, a word is drawn from the pool `animal`, each free word equally
  likely; afterwards the same word is repeated. `{animal1!}` marks an answer wherever it repeats.
  `{animal}`, without a number, is drawn anew each time, whatever was drawn before.
- `<event>`, a rule to expand here; `<did:animal1>` expands the rule `did cat` when the slot holds
  `cat`.

The probability of a text is the product of the probabilities of its choices, so its surprise
-log p is a sum, known while the text is written.
"""

import math
import random
import re
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from glassformer.errors import GlassformerError

# A space belongs to the word after it, as in GPT-2's pre-tokenizer.
WORD = re.compile(r"'s| ?[A-Za-z]+| ?[^\sA-Za-z]+")
HOLE = re.compile(
    r"(?P<lead> ?)\{(?P<slot>\w+)(?P<answer>!?)\}|<(?P<rule>[^<>:]+)(?::(?P<by>\w+))?>"
)

Templates = Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Pool:
    """Words a slot may hold; unless `repeats`, two slots of a document never hold the same one."""

    words: tuple[str, ...]
    repeats: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Text written as it stands."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A word of `pool`, kept under `name` for the rest of the document if the name has a number.

    `lead` is the space before the word, if any.
    """

    lead: str
    pool: str
    name: str
    answer: bool

    @property
    def kept(self) -> bool:
        return self.name != self.pool


@dataclass(frozen=True, slots=True, eq=False)
class Expand:
    """A rule to write here: `rule`, or `rule WORD` for the word in the slot `by`."""

    rule: str
    by: str | None

    def names(self, words: Sequence[str]) -> list[str]:
        return [self.rule] if self.by is None else [f"{self.rule} {word}" for word in words]


Part = Plain | Slot | Expand
Parts = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One template of a rule, its probability and its surprise in nats."""

    probability: float
    nats: float
    parts: Parts


@dataclass(frozen=True, slots=True)
class Answer:
    """Characters [start, end) repeat a word that the document has shown `n_examples` times."""

    start: int
    end: int
    n_examples: int


@dataclass(frozen=True, slots=True)
class Document:
    """A text, its surprise -log p in nats, its kind, and the answers in it."""

    text: str
    nats: float
    kind: str
    answers: tuple[Answer, ...]


class Grammar:
    """Kinds of document with their weights, rules and pools, compiled and checked.

    A document grows from the rule that bears the name of its kind.

    >>> pets = Grammar(
    ...     kinds={"pets": 1},
    ...     rules={"pets": [(1, "A {pet1}.<more>")], "more": [(3, ""), (1, " One more {pet1!}.")]},
    ...     pools={"pet": Pool(("cat", "dog"))},
    ... )
    >>> [round(math.exp(-nats), 9) for nats in pets.read("A cat. One more cat.")]
    [0.125]
    >>> list(pets.read("A cat. One more dog."))
    []
    """

    def __init__(
        self,
        kinds: Mapping[str, float],
        rules: Mapping[str, Templates],
        pools: Mapping[str, Pool],
    ) -> None:
        self.pools = dict(pools)
        rules = {"document": [(weight, f"<{kind}>") for kind, weight in kinds.items()], **rules}
        self.rules = {name: _compiled(name, templates) for name, templates in rules.items()}
        self.start: Parts = (Expand("document", None),)
        self._check()
        self._lots = {
            name: (
                tuple(accumulate(a.probability for a in alternatives[:-1])),
                [(a.nats, a.parts[::-1]) for a in alternatives],
            )
            for name, alternatives in self.rules.items()
        }

    def write(self, generator: random.Random) -> Document:
        """Write one text, drawing every choice from `generator`."""
        draw = generator.random
        pieces: list[str] = []
        words: dict[str, str] = {}
        shown: dict[str, int] = {}
        answers: list[Answer] = []
        rules: list[str] = []
        nats, length = 0.0, 0
        stack = list(self.start)
        while stack:
            part = stack.pop()
            if type(part) is Plain:
                pieces.append(part.text)
                length += len(part.text)
            elif type(part) is Slot:
                name = part.name
                word = words.get(name)
                if word is None:
                    free = self._free(part, words)
                    word = free[int(draw() * len(free))]
                    nats += math.log(len(free))
                    if part.kept:
                        words[name] = word
                        shown[name] = 1
                else:
                    if part.answer:
                        start = length + len(part.lead)
                        answers.append(Answer(start, start + len(word), shown[name]))
                    shown[name] += 1
                pieces.append(part.lead + word)
                length += len(pieces[-1])
            elif type(part) is Expand:
                rule = part.rule if part.by is None else f"{part.rule} {words[part.by]}"
                rules.append(rule)
                thresholds, lots = self._lots[rule]
                surprise, backwards = lots[bisect(thresholds, draw())]
                nats += surprise
                stack.extend(backwards)
        return Document("".join(pieces), nats, rules[1], tuple(answers))

    def read(self, text: str) -> Iterator[float]:
        """Yield the surprise in nats of every derivation of `text`; none: not in the language."""
        agenda: list[tuple[Parts, int, dict[str, str], float]] = [(self.start, 0, {}, 0.0)]
        while agenda:
            parts, at, words, nats = agenda.pop()
            if not parts:
                if at == len(text):
                    yield nats
                continue
            part, rest = parts[0], parts[1:]
            if isinstance(part, Plain):
                if text.startswith(part.text, at):
                    agenda.append((rest, at + len(part.text), words, nats))
            elif isinstance(part, Slot):
                known = words.get(part.name)
                free = self._free(part, words) if known is None else (known,)
                surprise = math.log(len(free))
                for word in free:
                    piece = part.lead + word
                    if text.startswith(piece, at):
                        now = words if known or not part.kept else {**words, part.name: word}
                        agenda.append((rest, at + len(piece), now, nats + surprise))
            else:
                rule = part.rule if part.by is None else f"{part.rule} {words[part.by]}"
                for alternative in self.rules[rule]:
                    agenda.append((alternative.parts + rest, at, words, nats + alternative.nats))

    def expect(self, cost: Callable[[str], float]) -> tuple[float, float]:
        """Exact expectation of (surprise in nats, summed `cost` of the words) over all texts.

        E[f(choice) + f(rest)] = sum_choice p(choice) (f(choice) + E[f(rest) | choice])

        Draws from a pool are exchangeable: seen from the start of a document, every slot holds each
        word of its pool with equal probability. So by linearity the recursion needs to know which
        slots are filled, not with what. `cost` is given one word at a time with the space before it
        (`" cat"`, `"'s"`, `"."`) and asked once for each.

        >>> coin = Grammar({"coin": 1}, {"coin": [(1, "{s1}.")]}, {"s": Pool(("heads", "tails"))})
        >>> nats, characters = coin.expect(len)
        >>> round(nats, 4), characters
        (0.6931, 6.0)
        """
        word_cost = cache(cost)

        @cache
        def text_cost(text: str) -> float:
            return sum(word_cost(word) for word in WORD.findall(text))

        @cache
        def expected(parts: Parts, filled: frozenset[str]) -> tuple[float, float]:
            if not parts:
                return 0.0, 0.0
            part, rest = parts[0], parts[1:]
            if isinstance(part, Plain):
                nats, total = expected(rest, filled)
                return nats, total + text_cost(part.text)
            if isinstance(part, Slot):
                pool = self.pools[part.pool]
                nats, total = expected(rest, filled | {part.name} if part.kept else filled)
                if part.name not in filled:
                    rivals = sum(_pool(name) == part.pool for name in filled)
                    nats += math.log(
                        len(pool.words) - (rivals if part.kept and not pool.repeats else 0)
                    )
                costs = [text_cost(part.lead + word) for word in pool.words]
                return nats, total + sum(costs) / len(costs)
            names = self._names(part)
            nats = total = 0.0
            for alternative in (a for name in names for a in self.rules[name]):
                p = alternative.probability / len(names)
                more_nats, more_total = expected(alternative.parts + rest, filled)
                nats += p * (alternative.nats + more_nats)
                total += p * more_total
            return nats, total

        return expected(self.start, frozenset())

    def _free(self, slot: Slot, words: Mapping[str, str]) -> tuple[str, ...]:
        """The words that an empty `slot` may be given."""
        pool = self.pools[slot.pool]
        if pool.repeats or not slot.kept:
            return pool.words
        taken = {word for name, word in words.items() if _pool(name) == slot.pool}
        return tuple(word for word in pool.words if word not in taken)

    def _names(self, part: Expand) -> list[str]:
        """The rules that `part` may lead to."""
        return part.names(() if part.by is None else self.pools[_pool(part.by)].words)

    def _check(self) -> None:
        """Refuse a hole that leads nowhere, and a word's own rule with holes (not exact)."""
        for rule, alternatives in self.rules.items():
            for part in (part for alternative in alternatives for part in alternative.parts):
                if isinstance(part, Slot) and part.pool not in self.pools:
                    raise GlassformerError(
                        f"rule {rule!r} draws from no pool {part.pool!r}; add it"
                    )
                if not isinstance(part, Expand):
                    continue
                for name in self._names(part):
                    if name not in self.rules:
                        raise GlassformerError(f"rule {rule!r} expands no rule {name!r}; add it")
                    plain = all(isinstance(p, Plain) for a in self.rules[name] for p in a.parts)
                    if part.by is not None and not plain:
                        raise GlassformerError(
                            f"rule {name!r} hangs on a word and has a hole; write it as plain text"
                        )


def _pool(slot: str) -> str:
    """The pool of a slot is its name without the number."""
    return slot.rstrip("0123456789")


def _compiled(rule: str, templates: Templates) -> list[Alternative]:
    total = sum(weight for weight, _ in templates)
    return [
        Alternative(weight / total, math.log(total / weight), _parts(rule, template))
        for weight, template in templates
    ]


def _parts(rule: str, template: str) -> Parts:
    parts: list[Part] = []
    end = 0
    for hole in HOLE.finditer(template):
        _add_plain(parts, template[end : hole.start()], rule)
        if hole["slot"]:
            parts.append(
                Slot(hole["lead"], _pool(hole["slot"]), hole["slot"], bool(hole["answer"]))
            )
        else:
            parts.append(Expand(hole["rule"], hole["by"]))
        end = hole.end()
    _add_plain(parts, template[end:], rule)
    return tuple(parts)


def _add_plain(parts: list[Part], text: str, rule: str) -> None:
    if text.endswith(" ") or (parts and text[:1].isalpha()):
        raise GlassformerError(
            f"rule {rule!r} splits a word or its space at {text!r};"
            " begin what follows with the space"
        )
    if text:
        parts.append(Plain(text))
