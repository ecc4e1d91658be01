"""The steps of a trace as a story: chapters, their sections, and in each what is told at length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from glassformer.ops.op import Role
from glassformer.trace import Step, Trace

# told in one line unless everything is asked for
BETWEEN: set[Role | None] = {"copy", "intermediate"}
_BLOCK = re.compile(r"(?:.*\.)?blocks\.(\d+)\.")
_SECTIONS = {"ln1": "Norm", "ln2": "Norm", "attn": "Attention", "mlp": "Feed-forward layer"}


@dataclass
class Section:
    """Steps of one part of a block, such as attention; `title` is empty outside the parts."""

    title: str
    steps: list[Step] = field(default_factory=list)


@dataclass
class Chapter:
    """The way in, one layer, or the way out."""

    title: str
    layer: int | None
    sections: list[Section] = field(default_factory=list)


def layer_of(step: Step) -> int | None:
    """The number of the block that a step belongs to; None outside the blocks.

    A weight's name has the same form as a step's.
    """
    match = _BLOCK.match(step.name)
    return int(match[1]) if match else None


def forward_steps(trace: Trace) -> list[Step]:
    return [step for step in trace.steps if step.kind == "fwd"]


def n_layers(trace: Trace) -> int:
    layers = (layer_of(step) for step in forward_steps(trace))
    return 1 + max((layer for layer in layers if layer is not None), default=-1)


def chapters(trace: Trace) -> list[Chapter]:
    """The steps of the forward pass in story order."""
    found: list[Chapter] = []
    last = n_layers(trace) - 1
    for step in forward_steps(trace):
        layer = layer_of(step)
        if not found or found[-1].layer != layer:
            if layer is not None:
                title = f"Layer {layer} (layers are 0 to {last})" if last else "The one layer"
            else:
                title = "Numbers become a prediction" if found else "Tokens become vectors"
            found.append(Chapter(title, layer))
        title = _section_title(step)
        sections = found[-1].sections
        if not sections or sections[-1].title != title:
            sections.append(Section(title))
        sections[-1].steps.append(step)
    return found


def _section_title(step: Step) -> str:
    part = step.name.split(".")[-2] if "." in step.name else ""
    return "Norm" if part in ("ln_embed", "ln_final") else _SECTIONS.get(part, "")


def is_between(step: Step) -> bool:
    """Whether a step is a stage on the way to one that is shown."""
    return step.role in BETWEEN


def matching(trace: Trace, pattern: str) -> list[Step]:
    """Forward steps whose name, and values whose kind/name, fit a pattern (`*` is any text)."""
    return [
        node
        for node in trace.nodes.values()
        if fnmatchcase(node.path, pattern)
        or (node.kind == "fwd" and fnmatchcase(node.name, pattern))
    ]


def groups(steps: list[Step]) -> Iterator[list[Step]]:
    """Steps told together: those with one number per token (mean, variance), else one by one."""
    together: list[Step] = []
    for step in steps:
        if step.axes == ("batch", "pos"):
            together.append(step)
            continue
        if together:
            yield together
            together = []
        yield [step]
    if together:
        yield together
