"""The execution plan of a model: what its traces hold, without the numbers, for any text.

A plan is what a program needs to make such a trace itself: the tree, the operands and the
parameters of every node, in the order in which they are computed, with shapes that follow from how
many texts there are and how many tokens each has. The page runs plans (``web/src/engine``). As
JSON:

- ``format``: "glassformer-plan", ``version``: 1; ``ops`` and ``formulas`` as in ``trace.json``
  (see `trace.file`);
- ``nodes``, every operand before what reads it: ``address``, ``op``, ``role``, ``formula``,
  ``operands``, ``params``, ``axes``, ``shape`` and ``dtype`` as there. A size or parameter that
  is the number of texts is "batch", of tokens "pos"; ["pos", -1] is one less. Of leaves only
  ``token/ids`` and ``token/targets``, which are given, and ``const/position``, which counts the
  tokens from 0, have such sizes;
- ``edits``: of the axes that values have ("batch,pos"), the formula (index into ``formulas``) of a
  value that is edited and of the gradient that passes it: see `ops.edit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.formula.derive import gradient
from glassformer.formula.template import over
from glassformer.formula.tree import Formula
from glassformer.ops import edit
from glassformer.trace.file import as_row, node_table
from glassformer.trace.graph import Graph

FORMAT, VERSION = "glassformer-plan", 1
OF_A_TRACE = ("consumers", "bytes", "edited")
"""What a trace's table says of a node and a plan does not."""

TEXT = ("token/ids", "token/targets", "const/position")
"""The leaves that are another size for another text."""

Plan = dict[str, Any]

Watch = Callable[[int, int], Graph]
"""Records a pass over so many texts of so many tokens each."""


class NoPlanError(GlassformerError):
    """The traces of this model can't be told from its plan alone."""


def plan(watch: Watch, batch: int = 1, pos: int = 2) -> Plan:
    """The plan of what `watch` records, read from traces of `batch` texts of `pos` tokens and more.

    One text more and one token more show which numbers grow.

    Errors: other nodes, trees or leaves for another text.
    """
    base, wider, longer = (
        json.loads(node_table(watch(*lengths), {}))
        for lengths in ((batch, pos), (batch + 1, pos), (batch, pos + 1))
    )
    lengths = {"batch": batch, "pos": pos}
    nodes = []
    for row, *others in zip(base["nodes"], wider["nodes"], longer["nodes"], strict=True):
        fixed = [_fixed(record) for record in (row, *others)]
        if fixed[1:] != fixed[:1] * 2:
            raise NoPlanError(f"{row['address']} is another node for another text")
        shapes = [record["shape"] for record in (row, *others)]
        params = [record["params"] for record in (row, *others)]
        node = {key: value for key, value in row.items() if key not in OF_A_TRACE}
        node["shape"] = [_count(sizes, lengths) for sizes in zip(*shapes, strict=True)]
        node["params"] = {name: _count([p[name] for p in params], lengths) for name in params[0]}
        grows = node["shape"] != row["shape"]
        if row["op"] is None and grows and row["address"] not in TEXT:
            raise NoPlanError(f"{row['address']} is a constant that is another for another text")
        nodes.append(node)
    if not base["formulas"] == wider["formulas"] == longer["formulas"]:
        raise NoPlanError("a formula is another for another text")
    formulas = base["formulas"]
    edits: dict[str, list[int]] = {}
    for axes in dict.fromkeys(tuple(node["axes"]) for node in nodes if node["op"] is not None):
        edits[",".join(axes)] = [len(formulas), len(formulas) + 1]
        formulas += [as_row(formula) for formula in _of_an_edit(axes)]
    return {
        "format": FORMAT,
        "version": VERSION,
        "ops": {**base["ops"], edit.name: {"summary": edit.summary, "source": edit.source}},
        "formulas": formulas,
        "nodes": nodes,
        "edits": edits,
    }


def _of_an_edit(axes: tuple[str, ...]) -> tuple[Formula, Formula]:
    """A value over some axes with an edit, and the gradient of what was computed for it."""
    value = over(edit.outputs[0], axes)
    passed = gradient(value, "computed", axes)
    assert passed is not None, "what is not edited is passed on"
    return value, passed


def _fixed(row: dict[str, Any]) -> dict[str, Any]:
    """What must be the same whatever the text."""
    return {
        **{key: value for key, value in row.items() if key not in ("shape", "bytes")},
        "params": [*row["params"]],
        "rank": len(row["shape"]),
    }


def _count(values: tuple[Any, ...] | list[Any], lengths: dict[str, int]) -> Any:
    """A number that stays, or how it follows from the lengths: values are of the base, with one
    text more, with one token more."""
    base, wider, longer = values
    if base == wider == longer:
        return base
    for symbol, grown, other in (("batch", wider, longer), ("pos", longer, wider)):
        if other == base and grown == base + 1:
            added = base - lengths[symbol]
            return [symbol, added] if added else symbol
    raise NoPlanError(f"a size goes from {base} to {wider} and {longer} with the text")
