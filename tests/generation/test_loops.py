"""What the C of a formula computes is what the formula says, for every op."""

import ctypes
import platform
import random
import re
import subprocess
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glassformer.formula.evaluate import evaluate
from glassformer.formula.nodes import Drawn, Reduce, walk
from glassformer.formula.tree import Formula
from glassformer.generation.c_step.expressions import preamble
from glassformer.generation.c_step.layout import Extent, Layout, dense
from glassformer.generation.c_step.library import c_library
from glassformer.generation.c_step.loops import TILE, c_function
from glassformer.ops import REGISTRY, Op
from tests.ops.cases import AXES, CASES, Draws

REALS = {torch.float32: "float", torch.float64: "double"}


def is_chosen(formula: Formula) -> bool:
    """Whether it is drawn or the largest of some: a step ends with the scores."""
    argmax = any(isinstance(n, Reduce) and n.kind == "argmax" for n in walk(formula.body))
    return argmax or isinstance(formula.body, Drawn)


ELEMENTARY = {
    name: op
    for name, op in REGISTRY.items()
    if isinstance(op, Op) and not any(is_chosen(output) for output in op.outputs)
}
Call = tuple[Formula, dict[str, Tensor], dict[str, Any], tuple[int, ...]]


def calls(drawn: Draws) -> Iterator[Call]:
    """Formula, operands, parameters and shape for every output that `drawn.dtype` computes."""
    for name, op in ELEMENTARY.items():
        args, params = CASES[name](drawn)
        values = op.kernel(*args, **params)
        bound = op.bind(*args, **params) if op.bind else args
        present = {o: t for o, t in zip(op.operands, bound, strict=False) if t is not None}
        if any(t.dtype not in (drawn.dtype, torch.int64) for t in present.values()):
            continue  # a choice is made in float64
        parts = values if isinstance(values, tuple) else (values,)
        for declared, value in zip(op.outputs, parts, strict=True):
            formula = declared.without(frozenset(op.operands) - present.keys())
            operands = {o: present[o] for o in formula.operands}
            yield formula, operands, {p: params[p] for p in formula.params}, tuple(value.shape)


def fixed(lengths) -> tuple[Extent, ...]:
    return tuple(Extent(n) for n in lengths)


def written(number: int, call: Call) -> str:
    formula, operands, params, shape = call
    layouts = {
        o: Layout(fixed(t.shape), fixed(t.stride()), integer=t.dtype == torch.int64)
        for o, t in operands.items()
    }
    return c_function(f"f{number}", formula, layouts, fixed(shape), params)


def computed(all_calls: list[Call], dtype: torch.dtype) -> Iterator[Tensor]:
    functions = (written(number, call) for number, call in enumerate(all_calls))
    exported = "\n".join(functions).replace("NO_INLINE", "")
    library = c_library(preamble(REALS[dtype]) + exported)
    for number, (formula, operands, _, shape) in enumerate(all_calls):
        out = torch.full(shape, torch.nan, dtype=dtype)
        pointers = [out.data_ptr(), *(operands[o].data_ptr() for o in sorted(formula.operands))]
        library[f"f{number}"](*map(ctypes.c_void_p, pointers), ctypes.c_int64(0))
        yield out


@pytest.mark.parametrize(
    ("seed", "dtype"),
    [
        (0, torch.float32),
        (1, torch.float64),
        *(
            pytest.param(seed, dtype, marks=pytest.mark.heavy)
            for seed, dtype in [(0, torch.float64), (1, torch.float32), *product((2, 3), REALS)]
        ),
    ],
)
def test_the_loops_of_every_formula_compute_what_it_says(seed, dtype):
    pick = random.Random(seed)
    sizes = {axis: pick.randint(1, 9) for axis in AXES}
    drawn = Draws(sizes, dtype, seed % 2 == 0, torch.Generator().manual_seed(seed))
    all_calls = list(calls(drawn))
    assert len(all_calls) > 40
    for call, out in zip(all_calls, computed(all_calls, dtype), strict=True):
        formula, operands, params, shape = call
        lengths = dict(zip(formula.axes, shape, strict=True))
        said, bound, _ = evaluate(
            formula, operands, params, shape=shape, dtype=dtype, sizes=lengths
        )
        result = out.double().numpy()
        with np.errstate(invalid="ignore"):
            agrees = (result == said) | (np.abs(result - said) <= bound)
        assert agrees.all(), (str(formula), result, said, bound)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_matrix_wider_than_a_tile_is_multiplied_whole(transposed):
    formula = Formula.parse("y[o] = sum(i, x[i] * W[i, o]) + b[o]")
    n_in, n_out = 7, 2 * TILE + 5
    W = torch.randn(n_out, n_in).T if transposed else torch.randn(n_in, n_out)
    operands = {"x": torch.randn(n_in), "W": W, "b": torch.randn(n_out)}
    (result,) = computed([(formula, operands, {}, (n_out,))], torch.float32)
    expected = operands["x"].double() @ W.double() + operands["b"].double()
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-5)


def test_a_sum_of_any_length_is_added_up_whole():
    formula = Formula.parse("y[o] = mean(i, x[i] * W[o, i]) + sum(j, sum(i, V[j, i]))")
    cases = [
        ({"V": torch.randn(3, n + 2)[:, 1:-1], "W": torch.randn(4, n), "x": torch.randn(n)}, n)
        for n in range(1, 50)
    ]
    results = computed([(formula, operands, {}, (4,)) for operands, _ in cases], torch.float32)
    for (operands, n), result in zip(cases, results, strict=True):
        V, W, x = (operands[name].double() for name in "VWx")
        torch.testing.assert_close(result.double(), W @ x / n + V.sum(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("minor", "names"), [(17, ""), (22, "exp expf"), (35, "erf erff exp expf tanh tanhf")]
)
def test_of_many_numbers_only_what_this_glibc_computes_is_asked_for(minor, names):
    version = f"#undef __GLIBC_MINOR__\n#define __GLIBC_MINOR__ {minor}\n"
    source = preamble("float").replace("#if", f"{version}#if", 1)
    command = ["cc", "-U__clang__", "-E", "-P", "-"]
    said = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    result = re.findall(r"notinbranch\"\)\)\) \w+ (\w+)\(", said)
    has_any = platform.libc_ver()[0] == "glibc" and platform.machine() == "x86_64"
    assert sorted(result) == (names.split() if has_any else [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("y[i] = drawn", "a drawn number has no arithmetic"),
        ("y = sum(i, x[i] / sum(j, x[j]))", "are an op of their own"),
        ("y[i] = x[i] / sum(i, x[i])", "an axis of the output is summed over"),
    ],
)
def test_what_has_no_loops_of_its_own_is_refused(text, said):
    formula, shape = Formula.parse(text), (Extent(3),)
    operands = {"x": dense(shape)} if formula.operands else {}
    with pytest.raises(ValueError, match=said):
        c_function("f", formula, operands, shape if formula.axes else (), {})
