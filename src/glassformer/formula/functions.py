"""The functions of the formula language, a row each: here, and in the page's `functions.ts`.

Whoever evaluates, differentiates, bounds, prints or compiles a formula reads this table, so that a
new function is a row in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from glassformer.formula.nodes import Binary, Node, Number, Param, Unary

X, VALUE = Param("x"), Param("value")
"""In a slope: what the function is applied to, and what it gives there."""


@dataclass(frozen=True)
class Function:
    """How a function is computed in float64, its derivative over `X` and `VALUE`, and its LaTeX.

    `c` is its name in C's math.h where that is another one; `exact` ones round nothing.
    """

    compute: Callable[[np.ndarray], np.ndarray]
    slope: Node
    latex: str
    c: str = ""
    exact: bool = False


def bf16(x: np.ndarray) -> np.ndarray:
    """x in bfloat16: the nearest one, of two equally near ones that with an even last bit."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = ((bits + half) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.asarray(rounded, np.float64)


def _called(name: str) -> str:
    return rf"{name}\left(%s\right)"


FUNCTIONS: dict[str, Function] = {
    "exp": Function(np.exp, VALUE, "e^{%s}"),
    "expm1": Function(np.expm1, Binary("+", VALUE, Number(1)), r"\left(e^{%s} - 1\right)"),
    "log": Function(np.log, Binary("/", Number(1), X), _called(r"\log")),
    "sqrt": Function(np.sqrt, Binary("/", Number(0.5), VALUE), r"\sqrt{%s}"),
    "tanh": Function(np.tanh, Binary("-", Number(1), Binary("*", VALUE, VALUE)), _called(r"\tanh")),
    "erf": Function(
        np.vectorize(math.erf, otypes=[np.float64]),
        Binary(
            "*",
            Number(2 / math.sqrt(math.pi)),
            Unary("exp", Unary("neg", Binary("*", X, X))),
        ),
        _called(r"\operatorname{erf}"),
    ),
    "sin": Function(np.sin, Unary("cos", X), _called(r"\sin")),
    "cos": Function(np.cos, Unary("neg", Unary("sin", X)), _called(r"\cos")),
    "bf16": Function(bf16, Number(0), _called(r"\operatorname{bf16}"), exact=True),
    "sign": Function(np.sign, Number(0), _called(r"\operatorname{sign}"), exact=True),
    "abs": Function(np.abs, Unary("sign", X), r"\left|%s\right|", c="fabs", exact=True),
}

RULES = {**FUNCTIONS, "neg": Function(np.negative, Number(-1), "-%s", exact=True)}
"""The functions and the sign, which is written as an operator."""
