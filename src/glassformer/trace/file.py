"""A trace on disk: ``trace.json`` says what there is, ``values.safetensors`` holds the numbers.

``trace.json`` (version 3; any other program may read it):

- ``format``: "glassformer-trace", ``version``: 3, ``values``: the values' file name;
- ``tile_bytes``: read a value in tiles of this many bytes: tile k of a value with ``bytes`` [b, e]
  is [b + k * tile_bytes, min(b + (k + 1) * tile_bytes, e)], offsets into the values' file, numbers
  little-endian and row-major; no number straddles two tiles;
- ``labels``: axis to readable names of its indices;
- ``ops``: op name to its ``summary`` and its ``source``;
- ``formulas``: each with ``name``, ``axes``, ``tree`` (see `formula.tree.to_json`), ``text`` and
  ``latex``;
- ``nodes``, leaves first: ``address`` (kind/name), ``op`` and ``role`` (null for a leaf; roles are
  those of `ops.op.Role`), ``formula`` (index into ``formulas``, null for a leaf), ``operands`` (the
  formula's operand name to an address), ``consumers`` (addresses), ``params`` (an infinite one as
  "inf"), ``axes``, ``shape``, ``dtype``, ``bytes`` (null where the value was not kept) and
  ``edited``.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import reprlib
import shutil
from collections.abc import Iterable
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, with_config
from torch import Tensor
from typing_extensions import TypedDict

from glassformer.errors import GlassformerError
from glassformer.formula.latex import to_latex
from glassformer.formula.tree import Formula, from_json, to_json
from glassformer.jsons import STRICT, Count, DamagedFileError, Schema, parse_object
from glassformer.ops.op import REGISTRY, Role
from glassformer.trace.address import KINDS, Address
from glassformer.trace.explain import WITHOUT_DECLARATION, op_source, op_summary
from glassformer.trace.graph import Graph
from glassformer.trace.node import Node
from glassformer.trace.values_file import DTYPES, Extents, ValuesFile

FORMAT, VERSION, TILE_BYTES = "glassformer-trace", 3, 65536
TABLE_FILE, VALUES_FILE = "trace.json", "values.safetensors"
FIX = "save it again"
DEEPEST_TREE = 2000  # a sum over all weights nests as deep as there are weights
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}


@with_config(STRICT)
class FormulaRow(TypedDict):
    name: str
    axes: list[str]
    tree: list[Any]


@with_config(STRICT)
class NodeRow(TypedDict):
    address: Annotated[str, Field(pattern=rf"^({'|'.join(KINDS)})/[A-Za-z_][\w.]*$")]
    op: str | None
    formula: Count | None
    operands: dict[str, str]
    params: dict[str, float | Literal["inf", "-inf", "nan"]]
    role: Role | None
    axes: list[str]
    shape: list[Count]
    dtype: Annotated[str, Field(pattern=f"^({'|'.join(_DTYPES)})$")]
    bytes: Annotated[list[Count], Field(min_length=2, max_length=2)] | None
    edited: bool


@with_config(STRICT)
class Table(TypedDict):
    """The schema of trace.json, as far as it is read; `format` and `version` are read before."""

    labels: dict[str, list[str]]
    formulas: list[FormulaRow]
    nodes: list[NodeRow]


_TABLE = Schema(Table)


def save(trace: Graph, folder: Path) -> Path:
    """Write a trace to a folder, whole or not at all; an older trace there is replaced."""
    if folder.exists() and not folder.is_dir():
        raise GlassformerError(f"{folder} is no folder; name a new one")
    if folder.exists() and any(folder.iterdir()) and not (folder / TABLE_FILE).exists():
        raise GlassformerError(f"{folder} is a folder with other things in it; name a new folder")
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    values = ValuesFile(trace)
    try:
        temporary.mkdir(parents=True)
        with (temporary / VALUES_FILE).open("wb") as file:
            file.writelines(values.tiles(TILE_BYTES))
        text = node_table(trace, values.extents)
        (temporary / TABLE_FILE).write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise GlassformerError(f"the trace could not be written to {folder}: {error}") from error
    finally:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def node_table(trace: Graph, extents: Extents) -> str:
    """The text of ``trace.json``, a line to a formula and to a node, given where the bytes lie."""
    formulas: dict[Formula, int] = {}
    nodes = []
    for node in [*trace.leaves, *trace.computed]:
        if node.formula is not None:
            formulas.setdefault(node.formula, len(formulas))
        row = {
            "address": node.path,
            "op": node.op,
            "role": node.role,
            "formula": formulas[node.formula] if node.formula is not None else None,
            "operands": node.operands,
            "consumers": list(dict.fromkeys(s.path for s, _ in trace.consumers(node.path))),
            "params": {name: _finite(value) for name, value in node.params.items()},
            "axes": node.axes,
            "shape": node.shape,
            "dtype": str(node.dtype).removeprefix("torch."),
            "bytes": extents.get(node.path),
            "edited": node.edited,
        }
        nodes.append(json.dumps(row, allow_nan=False))
    used = {node.op: node for node in trace.computed if node.op is not None}
    head = {
        "format": FORMAT,
        "version": VERSION,
        "values": VALUES_FILE,
        "tile_bytes": TILE_BYTES,
        "labels": {axis: list(names) for axis, names in trace.labels.items()},
        "ops": {op: {"summary": op_summary(n), "source": op_source(op)} for op, n in used.items()},
    }
    return (
        f"{json.dumps(head)[:-1]},\n"
        f'"formulas": {_lines(_written(formula) for formula in formulas)},\n'
        f'"nodes": {_lines(nodes)}}}\n'
    )


@lru_cache(maxsize=4096)  # the formulas of a model are those of its next trace
def _written(formula: Formula) -> str:
    return json.dumps(as_row(formula))


def as_row(formula: Formula) -> dict[str, Any]:
    """A formula as ``trace.json`` has it."""
    return {
        "name": formula.name,
        "axes": list(formula.axes),
        "tree": to_json(formula.body),
        "text": str(formula),
        "latex": to_latex(formula),
    }


def _lines(rows: Iterable[str]) -> str:
    return "[\n" + ",\n".join(rows) + "\n]"


def load(trace: Graph, folder: Path) -> None:
    """Put a saved trace into an empty one; values stay on disk until they are asked for."""
    path = folder / TABLE_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(folder, error) from error
    stored = _map_values(folder)
    content = parse_object(data, path, FIX, deepest=DEEPEST_TREE)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise GlassformerError(
            f"{path} is {reprlib.repr(content.get('format'))} version"
            f" {reprlib.repr(content.get('version'))};"
            f" this Glassformer reads {FORMAT!r} version {VERSION}: save the trace again"
        )
    table = _TABLE.check(content, path, FIX)
    try:
        formulas = [
            Formula(f["name"], tuple(f["axes"]), from_json(f["tree"])) for f in table["formulas"]
        ]
        values = StoredValues(path, stored)
        trace.labels = {**table["labels"]}
        seen: set[str] = set()
        for row in table["nodes"]:
            if row["address"] in seen:
                raise ValueError(f"two nodes are named {row['address']!r}")
            seen.add(row["address"])
            node = _node(row, formulas)
            _refuse_wrong_operands(node)
            if row["edited"] and not node.edited:
                raise ValueError(f"{node.path} was edited, and no formula says where")
            trace.add(node)
            if row["bytes"] is not None:
                values.locate(node, *row["bytes"])
        _refuse_loose_ends(trace)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"is damaged ({error})", FIX) from error
    trace.stored = values


def _refuse_wrong_operands(node: Node) -> None:
    """Raise for a node that its formula could not be worked out for."""
    if len(node.axes) != len(node.shape):
        raise ValueError(f"{node.path} has {len(node.axes)} axes and {len(node.shape)} sizes")
    if node.op is not None and node.op not in REGISTRY and node.op not in WITHOUT_DECLARATION:
        raise ValueError(f"{node.path} has the op {node.op!r}, which this Glassformer has not")
    if (node.op is None) != (node.formula is None):
        raise ValueError(f"{node.path} has an op or a formula and not the other")
    if node.formula is None:
        return
    if node.formula.axes != node.axes:
        raise ValueError(f"{node.path} has other axes than its formula")
    missing = {*node.formula.operands} - {*node.operands} | {*node.formula.params} - {*node.params}
    if missing:
        raise ValueError(f"{node.path} lacks {', '.join(sorted(missing))}, which its formula reads")


def _refuse_loose_ends(trace: Graph) -> None:
    """Raise for an operand that is not there, and for a value made of itself."""
    sources = {path: [*node.operands.values()] for path, node in trace.nodes.items()}
    for path, read in sources.items():
        for source in read:
            if source not in sources:
                raise ValueError(f"{path} reads {source!r}, which is not there")
    try:
        TopologicalSorter(sources).prepare()
    except CycleError as error:
        raise ValueError(f"{error.args[1][0]} is made of itself") from error


class StoredValues:
    """Values that are views of a memory-mapped file."""

    def __init__(self, path: Path, stored: mmap.mmap) -> None:
        self._path = path
        self._stored = stored
        self._bytes: dict[str, tuple[int, int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stored": None}  # a copy reads the same file

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._stored = _map_values(self._path.parent)

    def locate(self, node: Node, begin: int, end: int) -> None:
        """Say where a node's bytes lie; an extent that does not fit its shape is refused."""
        if not 0 <= begin <= end <= len(self._stored) or end - begin != node.nbytes:
            raise ValueError(f"bytes {begin} to {end} of {node.path} do not fit {node.shape}")
        self._bytes[node.path] = (begin, end)

    def read(self, node: Node, /) -> Tensor | None:
        if node.path not in self._bytes:
            return None
        begin, end = self._bytes[node.path]
        # an offset need not be aligned to the dtype, so the numbers are copied
        raw = torch.frombuffer(bytearray(self._stored[begin:end]), dtype=torch.uint8)
        return raw.view(node.dtype).view(node.shape)

    def fault(self, address: Address, error: Exception, /) -> DamagedFileError:
        problem = f"has a node that can't be worked out, {address} ({error})"
        return DamagedFileError(self._path, problem, FIX)


def _finite(value: float) -> float | str:
    """What JSON can say: it has no infinity (a training that does not clip has one)."""
    return value if math.isfinite(value) else str(value)


def _node(row: NodeRow, formulas: list[Formula]) -> Node:
    return Node(
        path=row["address"],
        op=row["op"],
        formula=_formula(row, formulas),
        operands=row["operands"],
        params={name: float(v) if isinstance(v, str) else v for name, v in row["params"].items()},
        axes=tuple(row["axes"]),
        shape=tuple(row["shape"]),
        dtype=_DTYPES[row["dtype"]],
        value=None,
        role=row["role"],
    )


def _formula(row: NodeRow, formulas: list[Formula]) -> Formula | None:
    number = row["formula"]
    if number is None:
        return None
    if number >= len(formulas):
        raise ValueError(f"{row['address']} has formula {number} of {len(formulas)}")
    return formulas[number]


def _map_values(folder: Path) -> mmap.mmap:
    try:
        with (folder / VALUES_FILE).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # an empty file can't be mapped
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> GlassformerError:
    return GlassformerError(
        f"{folder} holds no readable trace ({error}); write one with trace.save(folder)"
    )
