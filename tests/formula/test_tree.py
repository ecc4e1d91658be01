"""Formulas are data: text, JSON, LaTeX and numbers all come from one tree."""

import json
import re
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.formula.arithmetic import line, put_in
from glassformer.formula.evaluate import evaluate
from glassformer.formula.latex import latex, to_latex
from glassformer.formula.spelling import number
from glassformer.formula.tree import Formula, from_json, to_json
from glassformer.ops import REGISTRY, Op
from glassformer.ops.axes import AXES
from tests.examples import examples
from tests.formula.trees import SIZES, any_formula, by_python, smooth_body
from tests.ops import cases  # noqa: F401 (it registers every op)

# beartype picks random items to check, which hypothesis notices while it draws trees
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

FORMULAS = {
    f"{op.name}.{formula.name}": formula
    for op in REGISTRY.values()
    if isinstance(op, Op)
    for formula in op.outputs
}


@given(any_formula())
@examples(60)
def test_a_formula_written_as_text_reads_back_as_itself(formula):
    assert Formula.parse(str(formula)) == formula


@given(any_formula())
@examples(50)
def test_a_tree_written_as_json_reads_back_as_itself(formula):
    assert from_json(json.loads(json.dumps(to_json(formula.body)))) == formula.body


@pytest.mark.parametrize("name", FORMULAS)
def test_every_ops_formula_survives_text_and_json(name):
    formula = FORMULAS[name]
    assert Formula.parse(str(formula)) == formula
    assert from_json(json.loads(json.dumps(to_json(formula.body)))) == formula.body


@pytest.mark.parametrize("name", FORMULAS)
def test_every_axis_of_a_formula_is_in_the_glossary(name):
    assert set(FORMULAS[name].axes) <= set(AXES)


@pytest.mark.parametrize("broken", [None, 3, [], ["number"], ["sum", "i"], ["?", 1, 2], {"a": 1}])
def test_json_that_is_no_tree_is_refused(broken):
    with pytest.raises(ValueError, match="not a formula tree"):
        from_json(broken)


@pytest.mark.parametrize("text", ["y = f(x[i])", "y = x[i] if z else 2", "y = [1]", "y = a @ b"])
def test_text_outside_the_language_is_refused(text):
    with pytest.raises(ValueError, match="not part of the formula language"):
        Formula.parse(text)


@pytest.mark.parametrize(
    ("text", "absent", "left"),
    [
        ("y = x[()] * w[()] + b[()]", "b", "y = x[()] * w[()]"),
        ("y = x[()] * w[()] + b[()]", "w", "y = x[()] + b[()]"),
        ("y = x[()] * w[()] + b[()]", "wb", "y = x[()]"),
        ("y = x[()] - b[()]", "b", "y = x[()]"),
        ("y = b[()] - x[()]", "b", "y = -x[()]"),
        ("y = x[()] / w[()]", "w", "y = x[()]"),
        ("y = w[()] / x[()]", "w", "y = 1 / x[()]"),
        ("y = sum(i, x[i] * w[i]) + b[()]", "b", "y = sum(i, x[i] * w[i])"),
        ("y = sum(i, b[i]) + x[()]", "b", "y = x[()]"),
        ("y = x[()] + exp(b[()])", "b", "y = x[()]"),
        ("y = x[()]", "b", "y = x[()]"),
    ],
)
def test_terms_and_factors_of_absent_operands_fall_away(text, absent, left):
    assert str(Formula.parse(text).without(set(absent))) == left


@pytest.mark.parametrize(
    "text", ["y = b[()]", "y = x[b[()]]", "y = select(b[()] > 0, x[()], 0)", "y = x[()] ** b[()]"]
)
def test_a_formula_that_makes_no_sense_without_an_operand_says_so(text):
    with pytest.raises(ValueError, match="makes no sense without"):
        Formula.parse(text).without({"b"})


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    pairs = ((r"\\left\b", r"\\right\b"), (r"\\begin\b", r"\\end\b"))
    return depth == 0 and all(
        len(re.findall(a, text)) == len(re.findall(b, text)) for a, b in pairs
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_every_op_has_latex_with_balanced_braces(name):
    text = to_latex(FORMULAS[name])
    left, equals, right = text.partition(" = ")
    assert left
    assert equals
    assert right
    assert balanced(text), text


@given(any_formula())
@examples(25)
def test_any_formula_has_latex_with_balanced_braces(formula):
    assert latex(formula.body)
    assert balanced(to_latex(formula)), to_latex(formula)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = (max(i, x[i])) * 2", r"\left(\max_{\mathrm{i}} x_{\mathrm{i}}\right) \cdot 2"),
        ("y = a[()] - (b[()] - c[()])", r"a - \left(b - c\right)"),
        ("y = sqrt(2 / pi)", r"\sqrt{\frac{2}{\pi}}"),
        ("y = sqrt(d_head)", r"\sqrt{d_{\mathrm{head}}}"),
        (
            "y = sum(i, sum(j, x[i, j]))",
            r"\sum_{\mathrm{i}} \sum_{\mathrm{j}} x_{\mathrm{i},\mathrm{j}}",
        ),
        ("y = sum(i, x[i] + 1)", r"\sum_{\mathrm{i}} \left(x_{\mathrm{i}} + 1\right)"),
        ("y = (-a[()]) ** 2", r"{\left(-a\right)}^{2}"),
        ("y = (a[()] / 2) ** 2", r"{\left(\frac{a}{2}\right)}^{2}"),
        ("y = exp(a[()]) ** 2", r"{e^{a}}^{2}"),
    ],
)
def test_latex_brackets_what_would_be_misread(text, expected):
    assert latex(Formula.parse(text).body) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.2500"),
        (-0.0, "0"),
        (12345.678, "12346"),
        (123456.0, "1.235e+05"),
        (3, "3"),
        (0.99996, "1.000"),  # not 1.0000 above 0.9999
        (0.000099999, "0.0001000"),
    ],
)
def test_numbers_for_people_have_four_significant_digits(value, text):
    assert number(value) == text


@given(st.data(), st.integers(0, 2**32 - 1))
@examples(20)
def test_a_formulas_value_is_what_plain_python_computes(data, seed):
    axes = data.draw(st.sampled_from([(), ("i",), ("i", "j"), ("j", "k")]))
    body = data.draw(smooth_body(axes, 3))
    formula = Formula.parse(f"y[{', '.join(axes)}] = {body}" if axes else f"y = {body}")
    rng = np.random.default_rng(seed)
    arrays = {
        "a": rng.normal(size=(SIZES["i"], SIZES["j"])),
        "b": rng.normal(size=SIZES["j"]),
        "c": rng.normal(size=(SIZES["j"], SIZES["k"])),
        "s": rng.normal(size=()),
        "perm": rng.permutation(SIZES["j"])[: SIZES["i"]],
    }
    operands = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
    shape = tuple(SIZES[axis] for axis in axes)
    value, bound, _ = evaluate(formula, operands, {"scale": 0.7}, shape=shape, sizes=SIZES)
    assert value.shape == bound.shape == shape
    assert (bound >= 0).all()
    for index in np.ndindex(shape):
        at = dict(zip(axes, index, strict=True))
        plain = by_python(str(formula).partition(" = ")[2], arrays, 0.7, at)
        # both are float64: each within the rounding bound of the exact value
        assert abs(value[index] - plain) <= bound[index]
    at = {axis: SIZES[axis] - 1 for axis in axes}
    single, _, _ = evaluate(formula, operands, {"scale": 0.7}, at=at, sizes=SIZES)
    where = tuple(at.values())
    assert abs(single - value[where]) <= bound[where]


SUM_OF_SUMS = "0 * 0 + 0 * 1 + 0 * 2 + (76 more sum to 1176) + 8 * 7 + 8 * 8 = 1296"


@pytest.mark.parametrize(
    ("body", "arithmetic"),
    [
        ("sum(i, x[i] * w[i])", "1 * (-2) + 2 * 0.5 = -1"),
        ("mean(i, x[i]) - 3", "(1 + 2) / 2 - 3 = -1.5"),
        ("max(i, w[i])", "max(-2, 0.5) = 0.5"),
        ("x[0] - (w[0] - x[1])", "1 - ((-2) - 2) = 5"),
        ("exp(-w[0]) ** 2", "exp(-(-2)) ** 2 = 54.5982"),
        ("sqrt(2 / pi) * third[()]", "sqrt(2 / pi) * 0.33333333 = 0.265962"),
        ("select(w[0] > 0, w[0], 0)", "0   ((-2) > 0: no)"),
        ("select(w[0] > 0, w[0], x[1] / 2)", "2 / 2   ((-2) > 0: no) = 1"),
        ("select(third[()] > 0.33333, 1, 0)", "1   (0.333333 > 0.33333: yes)"),
        ("sum(one, sum(i, v[one, i]))", "1 + 2 = 3"),
        ("2 * sum(one, sum(i, v[one, i]))", "2 * (1 + 2) = 6"),
        ("scale * x[1] + size(i)", "0.7 * 2 + 2 = 3.4"),
        ("third[()] - near[()]", "0.333333333 - 0.333333333 ≈ 1.000e-11"),
        ("sum(k, long[k])", "0 + 1 + 2 + (4 more sum to 18) + 7 + 8 = 36"),
        ("sum(k, -long[k]) / 4", "(-0 + -1 + -2 + (4 more sum to -18) + -7 + -8) / 4 = -9"),
        ("mean(k, long[k])", "(0 + 1 + 2 + (4 more sum to 18) + 7 + 8) / 9 = 4"),
        ("max(k, long[k])", "max(0, 1, 2, (the largest of 4 more is 6), 7, 8) = 8"),
        ("sum(k, select(k == 5, long[k], 0))", "5 + (8 more are 0) = 5"),
        ("sum(k, select(k == 99, long[k], 0))", "(all 9 are 0) = 0"),
        ("-max(k, select(k == 5, -k, -inf))", "-max(-5, (8 more are -inf)) = 5"),
        (
            "argmax(k, long[k] % 7)",
            "argmax(6:6 % 7, 5:5 % 7, 4:4 % 7, 3:3 % 7, 2:2 % 7, (the largest of 4 more is 1)) = 6",
        ),
        ("argmax(i, x[i] / 4)", "argmax(1:2 / 4, 0:1 / 4) = 1"),
        ("max(i, x[i] - inf)", "max(1 - inf, 2 - inf) = -inf"),
        ("sum(j, sum(k, long[j] * long[k]))", SUM_OF_SUMS),
    ],
)
def test_a_line_of_arithmetic_has_the_digits_with_which_it_is_true_as_printed(body, arithmetic):
    operands = {
        "x": torch.tensor([1.0, 2.0]),
        "w": torch.tensor([-2.0, 0.5]),
        "v": torch.tensor([[1.0, 2.0]]),
        "long": torch.arange(9.0),
        "third": torch.tensor(1 / 3, dtype=torch.float64),
        "near": torch.tensor(1 / 3 - 1e-11, dtype=torch.float64),
    }
    formula = Formula.parse(f"y = {body}")
    value, _, run = evaluate(formula, operands, {"scale": 0.7}, at={}, sizes={"i": 2, "k": 9})
    printed = line(put_in(formula.body, run, {}), float(value))
    result = f" {printed.relation} {printed.result}" if printed.result else ""
    assert printed.numbers + result == arithmetic


@given(st.integers(0, 9_999))
def test_a_chain_of_additions_may_be_added_up_in_any_order(seed):
    scales = torch.tensor([1e-3, 1e-3, 1e-2, 1.0])  # as the branches of a residual stream are
    terms = torch.randn(4, generator=torch.Generator().manual_seed(seed)) * scales
    chain = Formula.parse("y = a[()] + b[()] + c[()] + d[()]")
    operands = dict(zip("abcd", terms, strict=True))
    exact, bound, _ = evaluate(chain, operands, dtype=torch.float32, at={})
    for order in permutations(terms):
        added = ((order[0] + order[1]) + order[2]) + order[3]
        assert abs(added.double().item() - exact) <= bound
