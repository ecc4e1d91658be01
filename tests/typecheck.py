"""Annotations, shapes included, are checked at calls while the tests run.

In each file of tests the first calls of every function are checked by beartype: more of them are
seldom unlike those, and checking them all takes more time than the calls themselves. What checks a
function is made at its first call, since most are called by few tests. What names a shape is
wrapped by jaxtyping, which reckons with the axes of the whole call and takes thirty times as long;
calls that are equal in all that annotations can see, down to the shapes and dtypes of every tensor,
are checked once. beartype takes an int for a float, as static checkers do.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import marshal
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, get_args

import jaxtyping
import numpy as np
import torch
from beartype import BeartypeConf, beartype

checked_call = beartype(
    conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError)
)


def checked(made: Any) -> Any:
    """A function that checks its calls; of a dataclass, that its fields are what they say."""
    if isinstance(made, type):
        if dataclasses.is_dataclass(made) and "__init__" in made.__dict__:
            made.__init__ = checked(made.__init__)
        return made
    if isinstance(made, FunctionType):
        if _names_a_shape(made):
            return _once_a_kind(made, jaxtyping.jaxtyped(typechecker=checked_call))
        for name, hint in made.__annotations__.items():
            if re.fullmatch(r"\w+\.(args|kwargs)", str(hint)):  # beartype compares the objects
                made.__annotations__[name] = eval(hint, made.__globals__)
    return _at_first(made, checked_call)


CALLS = 8  # of a function, in a file of tests
_file = ""


def new_test(file: str) -> None:
    """In another file, check the first calls of every function again."""
    global _file
    if file != _file:
        _file = file


def _at_first(made: Any, check: Any) -> Any:
    """A function that checks its first calls of every file of tests."""
    file, calls, checking = _file, 0, None

    @functools.wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal file, calls, checking
        if file is not _file:
            file, calls = _file, 0
        if calls >= CALLS:
            return made(*args, **kwargs)
        calls += 1
        checking = checking or check(made)
        return checking(*args, **kwargs)

    return call


def _once_a_kind(made: FunctionType, check: Any) -> Any:
    """A function that checks the first call of every kind."""
    fine: set[object] = set()
    checking = None

    @functools.wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal checking
        kind = _kind((args, kwargs))
        if kind in fine:
            return made(*args, **kwargs)
        checking = checking or check(made)
        result = checking(*args, **kwargs)
        if kind is not _UNLIKE_ANY:
            fine.add(kind)
        return result

    return call


_UNLIKE_ANY = object()
_WITH_ELEMENTS = (Collection, Iterator)  # beside the plain ones: their elements have types as well


def _kind(value: Any) -> object:
    """All that an annotation can see of a value; `_UNLIKE_ANY` where that is not known."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value), tuple(value.shape), value.dtype
    if value is None or isinstance(value, bool | str):
        return value  # of a Literal, perhaps
    if type(value) in (tuple, list, dict):
        inside = value.items() if isinstance(value, dict) else value
        kinds = (type(value), *map(_kind, inside))
        return _UNLIKE_ANY if _UNLIKE_ANY in kinds else kinds
    return _UNLIKE_ANY if isinstance(value, _WITH_ELEMENTS) else type(value)


def _names_a_shape(function: FunctionType) -> bool:
    words = re.findall(r"\w+", " ".join(map(str, function.__annotations__.values())))
    return any(_has_a_shape(function.__globals__.get(word)) for word in set(words))


def _has_a_shape(hint: Any) -> bool:
    """Whether a name stands for jaxtyping, one of its types or what is made of them."""
    if isinstance(hint, ModuleType):
        return hint is jaxtyping
    of_jaxtyping = getattr(hint, "__module__", "").startswith("jaxtyping")
    return of_jaxtyping or any(_has_a_shape(part) for part in get_args(hint))


class _Decorate(ast.NodeVisitor):
    """Every function of a module or a class, and every class, is handed to `checked`."""

    def __init__(self, package: str) -> None:
        self._package = package

    def generic_visit(self, node: ast.AST) -> None:
        """Visit the statements inside a statement; functions and classes stand in no expression."""
        for part in ("body", "handlers", "orelse", "finalbody", "cases"):
            for inner in getattr(node, part, ()):
                self.visit(inner)

    def visit_If(self, node: ast.If) -> None:
        """What only checkers import from other packages is imported: annotations name it."""
        prefix = f"{self._package}."
        if ast.unparse(node.test) == "TYPE_CHECKING" and not any(
            isinstance(line, ast.ImportFrom) and f"{line.module}.".startswith(prefix)
            for line in node.body
        ):
            node.test = ast.copy_location(ast.Constant(True), node.test)
        self.generic_visit(node)

    def visit_Module(self, node: ast.Module) -> None:
        self.generic_visit(node)
        late = (i for i, line in enumerate(node.body) if not _is_first(line))
        at = next(late, len(node.body))
        node.body[at:at] = ast.parse(f"import {__name__}").body

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Functions inside functions are left alone: each call of the outer one makes them anew."""
        node.decorator_list.append(_decorator())  # innermost: others may hide the annotations

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.generic_visit(node)
        node.decorator_list.insert(0, _decorator())  # outermost: after `dataclass`


def _is_first(line: ast.stmt) -> bool:
    """A docstring or an import from the future, which nothing may come before."""
    docstring = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    return docstring or (isinstance(line, ast.ImportFrom) and line.module == "__future__")


def _decorator() -> ast.expr:
    return ast.parse(f"{__name__}.checked", mode="eval").body


CODE = Path(__file__).resolve().parent.parent / ".caches" / sys.implementation.cache_tag
_THIS = hashlib.sha256(Path(__file__).read_bytes())


class _Loader(SourceFileLoader):
    """Keeps what it compiles, so that the other worker need not: apart from the module's own."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        seen = _THIS.copy()
        seen.update(f"{path}\n".encode() + source)
        kept, digest = CODE / fullname, seen.digest()
        known = kept.read_bytes() if kept.exists() else b""
        if known.startswith(digest):
            return marshal.loads(known[len(digest) :])
        code = self.source_to_code(source, path)
        CODE.mkdir(parents=True, exist_ok=True)
        new = kept.with_name(f"{fullname}.{os.getpid()}.tmp")
        new.write_bytes(digest + marshal.dumps(code))
        new.replace(kept)  # whole, or not there
        return code

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
        tree = ast.parse(data, str(path))
        _Decorate(self.name.partition(".")[0]).visit(tree)
        return compile(tree, path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self._package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def check_calls_of(package: str) -> None:
    """Check every call into a package that is not imported yet."""
    sys.meta_path.insert(0, _Finder(package))
