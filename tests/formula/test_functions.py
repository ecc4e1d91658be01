"""A function of formulas is a row here and a row in the page, and its slope is its slope."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from glassformer.formula.derive import gradient
from glassformer.formula.evaluate import evaluate
from glassformer.formula.functions import FUNCTIONS, RULES
from glassformer.formula.latex import to_latex
from glassformer.formula.tree import Formula
from glassformer.generation.c_step.expressions import REAL, call

PAGE = Path(__file__).parents[2] / "web" / "src" / "trace" / "functions.ts"


def test_a_function_is_in_the_table_here_and_in_the_page():
    rows = re.findall(r"^  (\w+): \{ of: ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == set(RULES), set(rows) ^ set(RULES)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_slope_of_its_row_and_can_be_printed_and_compiled(name):
    formula = Formula.parse(f"y[i] = {name}(x[i])")
    x = torch.tensor([0.3, 0.8, 1.7], dtype=torch.float64)
    step = 1e-6
    compute = FUNCTIONS[name].compute
    measured = (compute((x + step).numpy()) - compute((x - step).numpy())) / (2 * step)
    derivative = gradient(formula, "x", ("i",))
    assert derivative is not None
    operands = {"x": x, "y": torch.from_numpy(compute(x.numpy())), "d_y": torch.ones_like(x)}
    slope = evaluate(derivative, operands, shape=(3,))[0]
    # third derivatives are below 10: a central difference is off by 1e-11, its rounding by 1e-10
    np.testing.assert_allclose(slope, measured, rtol=0, atol=1e-9)
    assert "x_{" in to_latex(formula)
    assert "x[0]" in call(name, (REAL, "x[0]"))[1]
