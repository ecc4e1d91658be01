"""The names that `import glassformer as gf` offers."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import glassformer as gf
from glassformer.training import train_state


def test_what_type_checkers_see_is_what_is_loaded():
    source = Path(gf.__file__).read_text(encoding="utf-8")
    seen = {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
        if alias.asname  # "X as X" makes a name public
    }
    assert seen == gf._HOME


@pytest.mark.parametrize("name", gf._HOME)
def test_every_public_name_is_there_and_listed(name: str):
    assert getattr(gf, name) is not None
    assert name in dir(gf)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Transfromer'"):
        gf.Transfromer  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_what_0_1_called_otherwise_is_still_known_with_a_warning():
    with pytest.warns(DeprecationWarning, match="called Decoder now"):
        assert gf.Transformer is gf.Decoder  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules.pop("glassformer.training.learner", None)  # another test may have imported it
    with pytest.warns(DeprecationWarning, match="called glassformer.training.train_state now"):
        learner = importlib.import_module("glassformer.training.learner")
    assert learner.open_run is train_state.open_run


def test_a_package_of_a_functions_name_does_not_take_its_place():
    """In a new process: whoever loads a model has imported the package `glassformer.watch`."""
    code = "import glassformer as gf; gf.load('miniature'); assert callable(gf.watch)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_object_says_in_one_line_what_it_holds():
    model, tokenizer = gf.load("worked_example")
    trace = model.watch("the cat sat on")
    update = gf.watch_step(model, "the cat sat on")
    explanation = trace.explain("logits[pos=3,vocab=4]")
    text = gf.generate(model, [0, 1], max_new_tokens=1)
    said = {
        "model": model,
        "config": model.config,
        "tokenizer": tokenizer,
        "trace": trace,
        "update": update,
        "node": trace.computed[0],
        "gradients": update.trace.grad,
        "explanation": explanation,
        "operands": explanation.operand_groups["weight/unembed.W_U"],
        "terms": explanation.terms,
        "recipe": gf.Recipe(),
        "packed": gf.pack(model),
        "ablation": gf.lab.ablate(model, "the cat sat on", ["blocks.0.attn.z"]),
        "text": text,
    }
    for name, thing in said.items():
        assert " object at 0x" not in repr(thing), name
        assert "\n" not in repr(thing), name
        assert len(repr(thing)) < 300, name
    assert repr(explanation) == (
        "<Explanation of fwd/logits[batch=0,pos=3,vocab=4] = 0.100458; recomputed, it agrees>"
    )
