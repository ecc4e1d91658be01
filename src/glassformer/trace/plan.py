"""The execution plan of a model: what its traces hold, without the numbers, for any text.

A plan is what a program needs to make such a trace itself: the tree, the operands and the
parameters of every node, in the order in which they are computed, with shapes that follow from how
many texts there are, how many tokens each has, and how many its source has where it has one. The
page runs plans (``web/src/engine``). As JSON:

- ``format``: "glassformer-plan", ``version``: 1; ``ops`` and ``formulas`` as in ``trace.json``
  (see `trace.file`);
- ``nodes``, every operand before what reads it: ``address``, ``op``, ``role``, ``formula``,
  ``operands``, ``params``, ``axes``, ``shape`` and ``dtype`` as there. A size or parameter that
  is the number of texts is "batch", of tokens "pos", of a source's tokens "source_pos";
  ["pos", -1] is one less. Of leaves only ``token/ids``, ``token/targets`` and ``token/source``,
  which are given, ``token/types``, which are 0, and ``const/position``, ``const/encoder.position``
  and ``const/decoder.position``, which count tokens from 0, have such sizes;
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

TEXT = (
    *(f"token/{name}" for name in ("ids", "targets", "source", "types")),
    *(f"const/{tower}position" for tower in ("", "encoder.", "decoder.")),
)
"""The leaves that are another size for another text."""

Plan = dict[str, Any]

Watch = Callable[..., Graph]
"""Records a pass over so many texts of so many tokens each, of sources of so many tokens each."""


class NoPlanError(GlassformerError):
    """The traces of this model can't be told from its plan alone."""


def plan(watch: Watch, batch: int = 1, pos: int = 2, source_pos: int | None = None) -> Plan:
    """The plan of what `watch` records, read from traces of `batch` texts of `pos` tokens and more.

    One text more, one token more, and of sources one token more show which numbers grow.

    Errors: other nodes, trees or leaves for another text.
    """
    lengths = {"batch": batch, "pos": pos}
    if source_pos is not None:
        lengths["source_pos"] = source_pos
    grown = ({**lengths, symbol: n + 1} for symbol, n in lengths.items())
    base, *more = (
        json.loads(node_table(watch(*sizes.values()), {})) for sizes in (lengths, *grown)
    )
    nodes = []
    for row, *others in zip(base["nodes"], *(table["nodes"] for table in more), strict=True):
        fixed = [_fixed(record) for record in (row, *others)]
        if fixed[1:] != fixed[:1] * len(others):
            raise NoPlanError(f"{row['address']} is another node for another text")
        shapes = [record["shape"] for record in (row, *others)]
        params = [record["params"] for record in (row, *others)]
        node = {key: value for key, value in row.items() if key not in OF_A_TRACE}
        node["shape"] = [_count(sizes, lengths) for sizes in zip(*shapes, strict=True)]
        node["params"] = {name: _count([p[name] for p in params], lengths) for name in params[0]}
        is_symbolic = node["shape"] != row["shape"]
        if row["op"] is None and is_symbolic and row["address"] not in TEXT:
            raise NoPlanError(f"{row['address']} is a constant that is another for another text")
        nodes.append(node)
    if any(table["formulas"] != base["formulas"] for table in more):
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
    """A number that stays, or how it follows from the lengths: values are of the base, then with
    one more of each length."""
    base, *grown = values
    if all(value == base for value in grown):
        return base
    for symbol, value in zip(lengths, grown, strict=True):
        if value == base + 1 and sum(other != base for other in grown) == 1:
            added = base - lengths[symbol]
            return [symbol, added] if added else symbol
    raise NoPlanError(f"a size goes from {base} to {grown} with the text")
