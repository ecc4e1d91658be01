"""A trace: every step of one pass, and the way from an address to a number and its explanation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor

from glassformer.describe import counted
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.trace.address import Address
from glassformer.trace.difference import Rerun
from glassformer.trace.explain import Explanation
from glassformer.trace.html import html
from glassformer.trace.step import Step


class OverBudgetError(GlassformerError):
    """The values of a trace would take more memory than allowed."""


class Cancelled(GlassformerError):  # noqa: N818 (as in trio: it is no fault)
    """Whoever asked for it no longer waits."""


CancelCheck = Callable[[], bool]
"""Whether nobody waits any more for the result of something long; asked on the way."""


def never_cancelled() -> bool:
    return False


class Trace:
    """The steps of a pass in the order they happened.

    `keep`: patterns of the values to hold on to, such as ``"*"`` or ``"*.resid_*,logits"``; steps
    whose value is not kept still tell op, operands and shape. `labels` maps an axis to readable
    names of its indices (``{"pos": ["the", "cat"]}``), for whoever shows the trace.
    `parameter_gradients`, after a backward pass, are those of the stored parameters by state_dict
    name; ``bwd/`` names the parts. `rerun` runs the same pass again with one number changed,
    `silent_logits` runs it with the fused kernels.
    More than `budget_bytes` of values, weights apart, are refused. `is_cancelled` is asked at every
    value; if true, recording ends there.
    """

    def __init__(
        self,
        keep: str | Iterable[str] = "*",
        budget_bytes: int | None = None,
        is_cancelled: CancelCheck = never_cancelled,
    ) -> None:
        self.keep = keep.split(",") if isinstance(keep, str) else list(keep)
        self.keeps_all = "*" in self.keep
        self.budget_bytes = budget_bytes
        self.is_cancelled = is_cancelled
        self.labels: dict[str, Sequence[str]] = {}
        self.parameter_gradients: dict[str, Tensor] = {}
        self.rerun: Rerun | None = None
        self.silent_logits: Callable[[], Tensor] | None = None
        self._nodes: dict[str, Step] = {}
        self._nbytes = 0
        self._leaf_storages: set[int] = set()
        self._notes: deque[tuple[Callable[..., Iterable[Step]], tuple[Any, ...]]] = deque()
        self._noted_bytes = 0  # at most, of all that was ever noted
        self._writing = Lock()
        self._consumers: dict[str, list[tuple[Step, str]]] = {}
        self._n_consumers = 0  # how many of the nodes are in there

    @property
    def nodes(self) -> dict[str, Step]:
        """Every step and leaf by its path."""
        if self._notes:
            self._write_notes()
        return self._nodes

    @property
    def nbytes(self) -> int:
        """Bytes of the recorded values, weights apart."""
        if self._notes:
            self._write_notes()
        return self._nbytes

    def add(self, step: Step) -> None:
        """Record one step or leaf; a name may be used once."""
        self._refuse_if_cancelled()
        if self._notes:
            self._write_notes()
        self._put(step)

    def note(self, nbytes: int, steps: Callable[..., Iterable[Step]], *what: Any) -> None:
        """Record ``steps(*what)`` when someone looks: the pass itself need not wait for it.

        `nbytes` is what their values take at most.
        """
        self._refuse_if_cancelled()
        self._notes.append((steps, what))
        self._noted_bytes += nbytes
        if self.budget_bytes is not None and self._noted_bytes > self.budget_bytes:
            self._write_notes()  # counts exactly

    def _refuse_if_cancelled(self) -> None:
        if self.is_cancelled():
            raise Cancelled("nobody waits for this trace any more; it was not finished")

    def _write_notes(self) -> None:
        with self._writing:  # two threads may look at once
            while self._notes:
                steps, what = self._notes[0]  # stays there if it fails, to fail again
                for step in list(steps(*what)):
                    self._put(step)
                self._notes.popleft()

    def _put(self, step: Step) -> None:
        path, value = step.path, step.value
        if path in self._nodes:
            raise RuntimeError(f"two steps are named {path!r}; give each its own name")
        if value is not None and step.op is None:
            self._leaf_storages.add(value.untyped_storage()._cdata)
        elif value is not None and not (self.keeps_all or self.keeps(path)):
            step.value = None
        elif value is not None and value.untyped_storage()._cdata not in self._leaf_storages:
            # a tied unembedding is the embedding table seen otherwise, and takes no memory
            if self.budget_bytes is not None and self._nbytes + value.nbytes > self.budget_bytes:
                raise OverBudgetError(f"a trace of more than {self.budget_bytes:,} bytes")
            self._nbytes += value.nbytes
        self._nodes[path] = step

    def keeps(self, path: str) -> bool:
        """Whether the value of the step at `path` is held on to."""
        name = path.partition("/")[2]
        return self.keeps_all or any(fnmatchcase(name, part.strip()) for part in self.keep)

    @property
    def steps(self) -> list[Step]:
        """Computed values, in the order they were computed."""
        return [step for step in self.nodes.values() if step.op is not None]

    @property
    def leaves(self) -> list[Step]:
        """Weights, token ids and constants."""
        return [step for step in self.nodes.values() if step.op is None]

    def consumers(self, path: str) -> list[tuple[Step, str]]:
        """(step, operand name) for every step that read the value at `path`."""
        for step in islice(self.nodes.values(), self._n_consumers, None):
            for operand, source in step.operands.items():
                self._consumers.setdefault(source, []).append((step, operand))
        self._n_consumers = len(self._nodes)
        return self._consumers.get(path, [])

    @property
    def grad(self) -> Gradients:
        """The gradients of a watched backward pass, by the name of the value."""
        return Gradients(self)

    def step(self, address: str | Address) -> Step:
        """The step at an address; an unknown one is answered with the nearest known names."""
        where = Address.parse(address) if isinstance(address, str) else address
        step = self.nodes.get(where.path)
        if step is None:
            namesakes = (path for path, node in self.nodes.items() if node.name == where.name)
            namesake = next(namesakes, None)  # the same name under another kind
            near = (
                f" Did you mean {namesake!r}?" if namesake else did_you_mean(where.path, self.nodes)
            )
            raise GlassformerError(f"no value is named {where.path!r} in this trace.{near}")
        return step

    def __getitem__(self, address: str | Address) -> Tensor:
        """The value at an address: a tensor, or the slice that the given indices leave."""
        where = Address.parse(address) if isinstance(address, str) else address
        step = self.step(where)
        return self.value_of(step)[where.slices(step.axes, step.shape)]

    def explain(self, address: str | Address, *, check: bool = False) -> Explanation:
        """How one number was made: formula, operands, arithmetic, recomputed in float64.

        `check` compares a gradient with a finite difference of the loss in float64.
        """
        where = Address.parse(address) if isinstance(address, str) else address
        step = self.step(where)
        slices = where.slices(step.axes, step.shape)
        missing = [
            f"{axis} (0 to {n - 1})"
            for axis, n, chosen in zip(step.axes, step.shape, slices, strict=True)
            if isinstance(chosen, slice)
        ]
        if missing:
            raise GlassformerError(
                f"{where} is not one number; also give {', '.join(missing)},"
                f" for example {self._example(step, where)}"
            )
        # none of them is a slice: that is the error above
        at = {axis: int(cast("int", i)) for axis, i in zip(step.axes, slices, strict=True)}
        return Explanation(self, step, at, check)

    def value_of(self, step: Step) -> Tensor:
        """A step's whole value, or an error that says how to keep it."""
        if step.value is None:
            raise GlassformerError(
                f"the value of {step.path} was not kept; watch again with keep='*' or"
                f" keep={step.name!r}"
            )
        if step.op is None and step.value._version != step.version:
            raise GlassformerError(
                f"{step.path} was changed after this trace was recorded (by training?); watch again"
            )
        return step.value

    def check_leaves(self) -> None:
        """Raise if a weight was changed since, so that the pass can't be run again as it was."""
        for leaf in self.leaves:
            self.value_of(leaf)

    def fused_gap(self) -> float:
        """The largest difference between the recorded logits and those of the fused kernels."""
        if self.silent_logits is None:
            raise GlassformerError(
                "this pass cannot be run again as it was (it was loaded, edited, or drew dropout);"
                " watch it anew in model.eval() mode"
            )
        recorded = self.value_of(self.step("logits"))
        self.check_leaves()
        with torch.no_grad():
            return (self.silent_logits() - recorded).abs().max().item()

    def save(self, folder: str | Path) -> Path:
        """Write steps (JSON) and values (safetensors); see `trace.file` for the format."""
        from glassformer.trace.file import save

        return save(self, Path(folder))

    @staticmethod
    def load(folder: str | Path) -> Trace:
        """Read a trace that `save` wrote; values are read from disk when they are asked for."""
        from glassformer.trace.file import load

        return load(Path(folder))

    def _example(self, step: Step, where: Address) -> str:
        given = dict(where.index)
        return str(where.element(**{axis: given.get(axis, 0) for axis in step.axes}))

    def _repr_html_(self) -> str:
        return html(self)

    def __repr__(self) -> str:
        return f"<Trace of {len(self.steps)} steps, {self.nbytes:,} bytes>"


class Gradients:
    """`trace.grad["blocks.0.attn.q"]` is ``trace["bwd/blocks.0.attn.q"]``."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __repr__(self) -> str:
        n = sum(step.kind == "bwd" for step in self._trace.steps)
        return f"<Gradients of {counted(n, 'value')}>"

    def __getitem__(self, name: str) -> Tensor:
        where = Address.parse(name)
        return self._trace[replace(where, kind="bwd")]
