"""A formula at one element with its numbers put in: a line of arithmetic that is true as printed.

The formula's tree becomes a tree of what is printed (`put_in`): one number for everything that is
read, the chosen branch of every select, the shown terms of every reduction. The line's text and its
value both come from that tree, so the value is what a calculator gives for the text. How many
digits the numbers need is `formula.spelling.fewest_digits`.

A sum (a sum of sums is one sum), mean or maximum of more than `SHOWN_TERMS` terms shows its first
three and its last two; the rest is one number more, whose true value is spelled like any other
operand: ``1.5 + 2 + 0.25 + (763 more sum to -12.34) + 3 + 0.5``, ``max(1.5, 2, 0.25, (the largest
of 763 more is 7.5), 3, 0.5)``. Terms that a select makes 0 (in a maximum -inf) give way to others:
``0.75 + (767 more are 0)``, ``(all 768 are 0)``. Read each such bracket as the number at its end.

Terms are added from left to right. Whole numbers, sizes, indices and short constants are exact
whatever the digits; ``pi`` is the float64 nearest to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glassformer.formula.evaluate import OPERATORS, Evaluation
from glassformer.formula.functions import RULES
from glassformer.formula.nodes import (
    Axis,
    Binary,
    Drawn,
    Node,
    Number,
    Param,
    Read,
    Reduce,
    Select,
    Size,
    Unary,
)
from glassformer.formula.spelling import (
    OPERAND_DIGITS,
    Digits,
    constant,
    fewest_digits,
    full_digits,
    is_short,
    spelled,
)
from glassformer.formula.text import NEGATION, PRECEDENCE, bracket, sides

SHOWN_TERMS = 6
FIRST, LAST = 3, 2  # of a longer reduction


# --- what is printed ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Put:
    """A number; `exact`: written out whatever the line's digits."""

    value: float
    exact: bool = False

    def text(self, digits: int) -> str:
        return constant(self.value) if self.exact else spelled(self.value, digits)


@dataclass(frozen=True)
class Applied:
    function: str
    x: Printed


@dataclass(frozen=True)
class Joined:
    operator: str
    a: Printed
    b: Printed


@dataclass(frozen=True)
class Chosen:
    """A select at the top of a line: its branch, and the condition that chose it."""

    condition: Printed
    answer: bool
    branch: Printed


@dataclass(frozen=True)
class Rest:
    """What the terms that are not shown come to."""

    kind: str
    n: int
    value: Put
    dead: bool  # a select made every one of them the number that changes nothing
    alone: bool  # no other term is shown

    def text(self, digits: int) -> str:
        number = self.value.text(digits)
        if self.dead:
            return f"(all {self.n} are {number})" if self.alone else f"({self.n} more are {number})"
        if self.kind == "max":
            return f"(the largest of {self.n} more is {number})"
        return f"({self.n} more sum to {number})"


@dataclass(frozen=True)
class Gathered:
    """A sum, a mean or a maximum of `n` terms."""

    kind: str
    terms: tuple[Printed | Rest, ...]
    n: int


@dataclass(frozen=True)
class AtRandom:
    """A drawn number."""


@dataclass(frozen=True)
class Largest:
    """Which index has the largest of some terms: the largest ones, and that of the rest."""

    terms: tuple[tuple[int, Printed], ...]
    rest: Rest | None


Printed = Put | Applied | Joined | Chosen | Gathered | Largest | AtRandom


def put_in(body: Node, run: Evaluation, at: Mapping[str, int]) -> Printed:
    """What is printed of a formula at one element."""
    quiet = Evaluation(run.operands, run.params, run.sizes, run.roundoff)
    env = {axis: np.asarray(index) for axis, index in at.items()}
    printed = put_node_in(body, quiet, env)
    if isinstance(body, Select):
        answer = bool(quiet.run(body.condition, env)[0])
        return Chosen(put_node_in(body.condition, quiet, env), answer, printed)
    return printed


def put_node_in(node: Node, run: Evaluation, env: Mapping[str, np.ndarray]) -> Printed:
    match node:
        case Read():
            return _read(run.run(node, env)[0].item())
        case Axis() | Number() | Size() | Param():
            value = run.run(node, env)[0].item()
            return Put(value, exact=is_short(value))
        case Drawn():
            return AtRandom()
        case Unary(function, x):
            return Applied(function, put_node_in(x, run, env))
        case Select(condition, a, b):
            return put_node_in(a if bool(run.run(condition, env)[0]) else b, run, env)
        case Binary(operator, a, b):
            return Joined(operator, put_node_in(a, run, env), put_node_in(b, run, env))
        case Reduce():
            return _gather(node, run, env)


def _read(value: float) -> Put:
    return Put(value, exact=isinstance(value, int))


def _gather(node: Reduce, run: Evaluation, env: Mapping[str, np.ndarray]) -> Printed:
    kind = node.kind
    axes, body = _flat(node) if kind == "sum" else ([node.axis], node.body)
    shape = tuple(run.sizes[axis] for axis in axes)
    n = math.prod(shape)

    def term(flat: int) -> Printed:
        index = (np.asarray(i) for i in np.unravel_index(flat, shape))
        return put_node_in(body, run, {**env, **dict(zip(axes, index, strict=True))})

    if kind == "argmax":
        values = values_of(body, axes, shape, run, env)
        ranked = np.argsort(-values, kind="stable")  # of equal ones the first
        first = ranked if n <= SHOWN_TERMS else ranked[: FIRST + LAST]
        left = values[ranked[first.size :]]
        rest = Rest("max", left.size, _read(left[0].item()), False, False) if left.size else None
        return Largest(tuple((i, term(i)) for i in first.tolist()), rest)
    if n == 1 and kind != "mean":
        return term(0)
    if n <= SHOWN_TERMS:
        return Gathered(kind, tuple(term(i) for i in range(n)), n)
    values = values_of(body, axes, shape, run, env)
    nothing = -math.inf if kind == "max" else 0
    live = np.flatnonzero(values != nothing) if _selects(body) else np.arange(n)
    first, last = (live, live[:0]) if live.size <= SHOWN_TERMS else (live[:FIRST], live[-LAST:])
    left = np.delete(values, np.concatenate([first, last]))
    rest = left.max() if kind == "max" else left.sum()
    dead = bool((left == nothing).all()) and _selects(body)
    left_over = Rest(kind, left.size, _read(rest.item()), dead, alone=not live.size)
    shown = [*map(term, first.tolist()), left_over, *map(term, last.tolist())]
    return Gathered(kind, tuple(shown), n)


def _flat(node: Reduce) -> tuple[list[str], Node]:
    """The axes of a sum of sums, and what is summed."""
    axes, body = [node.axis], node.body
    while isinstance(body, Reduce) and body.kind == "sum":
        axes.append(body.axis)
        body = body.body
    return axes, body


def values_of(
    body: Node,
    axes: Sequence[str],
    shape: tuple[int, ...],
    run: Evaluation,
    env: Mapping[str, np.ndarray],
) -> np.ndarray:
    """All terms of a reduction, in the order of its axes."""
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    inner = {**env, **dict(zip(axes, grid, strict=True))}
    return np.broadcast_to(run.run(body, inner)[0], shape).ravel()


def _selects(node: Node) -> bool:
    """Whether a term is chosen by a condition."""
    if isinstance(node, Binary) and node.operator == "+":
        return _selects(node.a) and _selects(node.b)
    return isinstance(node, Select)


# --- its text and its value -----------------------------------------------------------------------


def text(printed: Printed | Rest, digits: int, outer: int = 0) -> str:
    """What is printed, with so many significant digits of every number that is not exact."""
    match printed:
        case Put():
            spelling = printed.text(digits)
            return f"({spelling})" if spelling.startswith("-") and outer > 0 else spelling
        case AtRandom():
            return "drawn"
        case Rest():
            return printed.text(digits)
        case Applied("neg", x):
            return bracket("-" + text(x, digits, NEGATION), NEGATION, outer)
        case Applied(function, x):
            return f"{function}({text(x, digits)})"
        case Chosen(condition, answer, branch):
            said = "yes" if answer else "no"
            return f"{text(branch, digits)}   ({text(condition, digits)}: {said})"
        case Joined(operator, a, b):
            level = PRECEDENCE[operator]
            left, right = sides(operator, level)
            # a negative number on the right of any operator stands in brackets
            line = f"{text(a, digits, left)} {operator} {text(b, digits, max(right, 1))}"
            return bracket(line, level, outer)
        case Gathered("max", terms, _):
            return f"max({', '.join(text(term, digits) for term in terms)})"
        case Largest(terms, rest):
            entries = [f"{index}:{text(term, digits)}" for index, term in terms]
            if rest:
                entries.append(text(rest, digits))
            return f"argmax({', '.join(entries)})"
        case Gathered(kind, terms, n):
            level = PRECEDENCE["+"]
            line = " + ".join(text(term, digits, level + 1) for term in terms)
            if kind == "sum":
                return bracket(line, level, outer)
            level = PRECEDENCE["/"]
            line = bracket(line, PRECEDENCE["+"], level if len(terms) > 1 else 0)
            return bracket(f"{line} / {n}", level, outer)


def value(printed: Printed | Rest, digits: int) -> float:
    """What a calculator gives for the text; nan where a condition turns out otherwise."""
    with np.errstate(all="ignore"):
        return float(_value(printed, digits))


def _value(printed: Printed | Rest, digits: int) -> float:
    match printed:
        case Put(number, exact):
            return number if exact else float(spelled(number, digits))
        case AtRandom():
            raise ValueError("a drawn number has no arithmetic")
        case Rest():
            return _value(printed.value, digits)
        case Applied(function, x):
            return float(RULES[function].compute(np.asarray(_value(x, digits), np.float64)))
        case Joined(operator, a, b):
            left, right = (np.asarray(_value(side, digits), np.float64) for side in (a, b))
            return float(OPERATORS[operator](left, right))
        case Chosen(condition, answer, branch):
            return _value(branch, digits) if _value(condition, digits) == answer else math.nan
        case Gathered("max", terms, _):
            return float(np.max([_value(term, digits) for term in terms]))
        case Largest(terms, _):
            printed_largest = [(_value(term, digits), -index) for index, term in terms]
            return -max(printed_largest)[1]
        case Gathered(kind, terms, n):
            total = 0.0
            for term in terms:
                total += _value(term, digits)
            return total if kind == "sum" else total / n


@dataclass(frozen=True)
class Line:
    """A line of arithmetic: the numbers put in, and what they come to.

    `relation` is ≈ where no reasonable number of digits gives the result as printed; `result` is
    empty where the line is one number.
    """

    numbers: str
    relation: str
    result: str
    digits: Digits


def line(printed: Printed, result: float, *, full: bool = False) -> Line:
    """The line for a result, with the fewest digits with which it is true, or in full.

    >>> line(Joined("/", Put(1.0), Put(1.000377142)), 1 / 1.000377142).numbers
    '1 / 1.000377'
    """
    branch = printed.branch if isinstance(printed, Chosen) else printed
    if isinstance(branch, AtRandom):
        return Line("drawn", "=", "", Digits(OPERAND_DIGITS[0], OPERAND_DIGITS[0], holds=True))
    digits = (full_digits if full else fewest_digits)(result, lambda d: value(printed, d))
    said = "" if isinstance(branch, Put) else spelled(result, digits.result)
    return Line(text(printed, digits.operands), digits.relation, said, digits)
