"""A trace: every node of one pass, and the way from an address to a number and its explanation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.rendering import html
from glassformer.trace import file
from glassformer.trace.address import Address
from glassformer.trace.explain import Explanation, explain
from glassformer.trace.graph import Graph


class Trace(Graph):
    """The nodes of a pass in the order they happened.

    `keep`: patterns of the values to hold on to, such as ``"*"`` or ``"*.resid_*,logits"``; nodes
    whose value is not kept still tell op, operands and shape. `labels` maps an axis to readable
    names of its indices (``{"pos": ["the", "cat"]}``), for whoever shows the trace.
    `parameter_gradients`, after a backward pass, are those of the stored parameters by state_dict
    name; ``bwd/`` names the parts. `rerun` runs the same pass again with one number changed,
    `silent_logits` runs it with the fused kernels.
    More than `budget_bytes` of values, weights apart, are refused. `is_cancelled` is asked at every
    value; if true, recording ends there.
    """

    @property
    def grad(self) -> Gradients:
        """The gradients of a watched backward pass, by the name of the value."""
        return Gradients(self)

    def explain(self, address: str | Address, *, check: bool = False) -> Explanation:
        """How one number was made: formula, operands, arithmetic, recomputed in float64.

        `check` compares a gradient with a finite difference of the loss in float64.
        """
        return explain(self, address, check=check)

    def fused_gap(self) -> float:
        """The largest difference between the recorded logits and those of the fused kernels."""
        if self.silent_logits is None:
            raise GlassformerError(
                "this pass cannot be run again as it was (it was loaded, edited, or drew dropout);"
                " watch it anew in model.eval() mode"
            )
        recorded = self.value_of(self.node("logits"))
        self.check_leaves()
        with torch.no_grad():
            return (self.silent_logits() - recorded).abs().max().item()

    def save(self, folder: str | Path) -> Path:
        """Write nodes (JSON) and values (safetensors); see `trace.file` for the format."""
        return file.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Trace:
        """Read a trace that `save` wrote; values are read from disk when they are asked for."""
        trace = cls()
        file.load(trace, Path(folder))
        return trace

    def _repr_html_(self) -> str:
        return html(self)

    def __repr__(self) -> str:
        return f"<Trace of {len(self.computed)} values, {self.nbytes:,} bytes>"


class Gradients:
    """`trace.grad["blocks.0.attn.q"]` is ``trace["bwd/blocks.0.attn.q"]``."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __repr__(self) -> str:
        return f"<Gradients of {counted(len([*self]), 'value')}>"

    def __iter__(self) -> Iterator[str]:
        """The names of all values and weights with a gradient."""
        return (node.name for node in self._trace.computed if node.kind == "bwd")

    def __getitem__(self, name: str) -> Tensor:
        where = Address.parse(name)
        return self._trace[replace(where, kind="bwd")]
