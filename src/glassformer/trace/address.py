"""The address of a number: the same in Python, on the command line, in a URL and in a notebook.

``[@step=N][@token=T] KIND/name[axis=index, ...]``, for example
``fwd/blocks.3.attn.attn_scores[head=7,query=5,key=2]``. The kind ``fwd/`` may be left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from glassformer.errors import GlassformerError

KINDS: dict[str, str] = {
    "fwd": "a value of the forward pass: how was it made?",
    "bwd": "a gradient of the loss: the sum over every value made from it",
    "opt": "an optimizer step: how did this weight move?",
    "weight": "a trained parameter, where operands end",
    "token": "a token id, where operands end",
    "const": "a constant, where operands end",
    "choose": "how the next token was drawn",
    "text": "how the text became tokens",
}

_ADDRESS = re.compile(
    r"(?P<at>(?:@(?:step|token)=[0-9]{1,18}\s*)*)/?(?:(?P<kind>[a-z]+)/)?"
    r"(?P<name>[A-Za-z_][\w.]*)\s*(?:\[(?P<index>[^\]]*)\])?"
)
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Address:
    """A parsed address; `index` holds (axis, index) pairs in the order they were written.

    >>> a = Address.parse("blocks.0.attn.pattern[head=1, query=3]")
    >>> a.kind, a.name, dict(a.index)
    ('fwd', 'blocks.0.attn.pattern', {'head': 1, 'query': 3})
    >>> str(a)
    'fwd/blocks.0.attn.pattern[head=1,query=3]'
    """

    kind: str
    name: str
    index: tuple[tuple[str, int], ...] = ()
    step: int | None = None
    token: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        match = _ADDRESS.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise GlassformerError(
                f"{text!r} is not an address; write KIND/name[axis=index,...],"
                " for example fwd/blocks.0.attn.pattern[head=0,query=3,key=1]"
            )
        kind = match["kind"] or "fwd"
        if kind not in KINDS:
            raise GlassformerError(
                f"unknown kind {kind!r} in {text!r}; kinds are {', '.join(KINDS)}"
            )
        at = dict(re.findall(r"@(step|token)=([0-9]+)", match["at"]))
        index = tuple(
            _index(part, text) for part in (match["index"] or "").split(",") if part.strip()
        )
        axes = [axis for axis, _ in index]
        if len(set(axes)) < len(axes):
            raise GlassformerError(f"{text!r} gives one axis twice; name each axis once")
        step, token = (int(at[word]) if word in at else None for word in ("step", "token"))
        return cls(kind, match["name"], index, step, token)

    def element(self, **index: int) -> Address:
        """The same name at other indices."""
        return replace(self, index=tuple(index.items()))

    def slices(self, axes: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int | slice, ...]:
        """What to index a value of these axes with; an axis of length 1 may be left out."""
        index = dict(self.index)
        for axis, i in index.items():
            if axis not in axes:
                known = ", ".join(axes) or "none: it is one number"
                raise GlassformerError(f"{self.path} has no axis {axis!r}; its axes are {known}")
            n = shape[axes.index(axis)]
            if i >= n:
                raise GlassformerError(
                    f"{axis}={i} is outside {self.path}; {axis} goes from 0 to {n - 1}"
                )
        return tuple(
            index[axis] if axis in index else 0 if n == 1 else slice(None)
            for axis, n in zip(axes, shape, strict=True)
        )

    @property
    def path(self) -> str:
        """Kind and name without indices: the key of a node in its trace."""
        return f"{self.kind}/{self.name}"

    def __str__(self) -> str:
        at = "".join(
            f"@{word}={n} "
            for word, n in (("step", self.step), ("token", self.token))
            if n is not None
        )
        index = ",".join(f"{axis}={i}" for axis, i in self.index)
        return f"{at}{self.path}" + (f"[{index}]" if index else "")


def _index(part: str, text: str) -> tuple[str, int]:
    axis, equals, number = (piece.strip() for piece in part.partition("="))
    if not equals or not axis.isidentifier() or not _NUMBER.fullmatch(number):
        raise GlassformerError(
            f"{part.strip()!r} in {text!r} is not axis=index; write for example head=0"
        )
    return axis, int(number)
