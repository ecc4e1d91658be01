"""A calculator for printed arithmetic: it reads what a person reads, and knows nothing of how."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import torch

REST = re.compile(r"\((?:the largest of |all )?\d+ (?:more )?(?:sum to|is|are) ")
"""What the terms left out come to: "(763 more sum to 12.34)" is 12.34."""

WITH_CONDITION = re.compile(r"(?P<numbers>.*?)(?:   \((?P<condition>.*): (?P<answer>yes|no)\))?")

OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: float(np.divide(a, b)),
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: float(np.power(a, b)),
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "max": lambda *values: max(values),
    "log": lambda x: float(np.log(x)),
    "expm1": math.expm1,
    "exp": lambda x: float(np.exp(x)),
    "sqrt": lambda x: float(np.sqrt(x)),
    "tanh": math.tanh,
    "erf": math.erf,
    "sin": math.sin,
    "cos": math.cos,
    "bf16": lambda x: torch.tensor(x).bfloat16().item(),
    "sign": lambda x: float(np.sign(x)),
    "abs": math.fabs,
}
NAMES = {"pi": math.pi, "inf": math.inf, "nan": math.nan}


def calculate(text: str) -> float:
    """The value of arithmetic as printed, in float64, from left to right.

    >>> calculate("1.5 + 2 + (763 more sum to -12.34) * 2")
    -21.18
    """
    if text.startswith("argmax("):
        terms = re.findall(r"(\d+):([^,]+?)(?=,|\)$)", text)
        return max(sorted((int(i), calculate(x)) for i, x in terms), key=lambda term: term[1])[0]
    with np.errstate(all="ignore"):
        return _value(ast.parse(REST.sub("(", text).strip(), mode="eval").body)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return -_value(x)
        case ast.UnaryOp(op=ast.UAdd(), operand=x):
            return _value(x)
        case ast.BinOp(left=a, op=op, right=b):
            return OPERATORS[type(op)](_value(a), _value(b))
        case ast.Compare(left=a, ops=[op], comparators=[b]):
            return OPERATORS[type(op)](_value(a), _value(b))
        case ast.Call(func=ast.Name(id=function), args=args):
            return FUNCTIONS[function](*map(_value, args))
        case _:
            raise ValueError(f"no arithmetic: {ast.unparse(node)}")


def last_digit(text: str) -> float:
    """One unit of the last printed digit.

    >>> last_digit("-0.25"), last_digit("1.50e-07"), last_digit("12")
    (0.01, 1e-09, 1.0)
    """
    exponent = Decimal(text).as_tuple().exponent
    return float(Decimal(1).scaleb(int(exponent)))


def gives(numbers: str, result: str) -> bool:
    """Whether arithmetic gives a result to its last printed digit.

    >>> gives("1 / 3", "0.3333"), gives("1.000 / 1.000", "0.9996")
    (True, False)
    """
    value, printed = calculate(numbers), float(result)
    if not math.isfinite(printed):
        return value == printed or (math.isnan(value) and math.isnan(printed))
    # half a unit, and the rounding of the float64 comparison itself
    return abs(value - printed) <= 0.5 * last_digit(result) + 4e-16 * abs(printed)


def holds(arithmetic: str) -> bool:
    """Whether a line ``name = numbers = result`` is true; with ``   (condition: yes)`` that too."""
    _, _, text = arithmetic.partition(" = ")
    numbers, equals, result = text.rpartition(" = ")
    match = WITH_CONDITION.fullmatch(numbers.rstrip("\n ") if equals else text)
    assert match is not None, arithmetic
    if match["condition"] and bool(calculate(match["condition"])) != (match["answer"] == "yes"):
        return False
    return gives(match["numbers"], result.strip()) if equals else bool(match["numbers"])
