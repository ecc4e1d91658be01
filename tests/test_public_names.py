"""The names that `import glassformer as gf` offers."""

import ast
from pathlib import Path

import pytest

import glassformer as gf


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
