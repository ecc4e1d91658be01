"""Derivatives of formulas: right, or refused; never a gradient that is said not to flow."""

import math

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.formula.derive import gradient
from glassformer.formula.evaluate import evaluate
from glassformer.formula.nodes import Axis, Read, Unary
from glassformer.formula.tree import Formula


@pytest.mark.parametrize(
    ("text", "slope"),
    [
        ("y[i] = x[i] ** p", lambda x: 3 * x**2),
        ("y[i] = x[i] ** -2", lambda x: -2 * x**-3),
        ("y[i] = 2 ** x[i]", lambda x: 2**x * math.log(2)),
        ("y[i] = x[i] ** x[i]", lambda x: x**x * (math.log(x) + 1)),
    ],
)
def test_powers_have_their_derivatives(text, slope):
    formula = Formula.parse(text)
    result = gradient(formula, "x", ("i",))
    assert result is not None
    x, upstream = (torch.tensor([number], dtype=torch.float64) for number in (0.7, 2.0))
    y = torch.as_tensor(evaluate(formula, {"x": x}, {"p": 3}, at={"i": 0})[0]).reshape(1)
    operands = {"x": x, "y": y, "d_y": upstream}
    value = evaluate(result, operands, {"p": 3}, at={"i": 0})[0]
    assert float(value) == pytest.approx(2 * slope(0.7), rel=1e-14)  # a few roundings in fp64


@pytest.mark.parametrize("text", ["y[i] = x[i] % 2", "y[i] = 3 + x[i] % 2 * z[i]"])
def test_what_has_no_rule_is_refused_by_name(text):
    with pytest.raises(GlassformerError, match=r"can't differentiate y\[i\] = .* no rule for %"):
        gradient(Formula.parse(text), "x", ("i",))


def test_an_unknown_function_is_refused_by_name():
    unknown = Formula("y", ("i",), Unary("sigmoid", Read("x", (Axis("i"),))))
    with pytest.raises(GlassformerError, match="no rule for sigmoid"):
        gradient(unknown, "x", ("i",))


def test_no_rule_is_asked_for_where_the_operand_is_not():
    assert str(gradient(Formula.parse("y[i] = z[i] % 2 + x[i]"), "x", ("i",))) == "d_x[i] = d_y[i]"


@pytest.mark.parametrize("body", ["x[i] // 2", "x[i] < 2", "select(x[i] == 1, 2, 3)"])
def test_a_step_function_passes_no_gradient(body):
    assert gradient(Formula.parse(f"y[i] = {body}"), "x", ("i",)) is None
