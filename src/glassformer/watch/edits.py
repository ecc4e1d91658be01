"""Edits: values and weights changed by address, before whatever follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from numbers import Real

import torch
from torch import Tensor

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.trace import Address
from glassformer.trace.tape import Editor
from glassformer.watch.watchable import Watchable

NewValue = float | Tensor | Callable[[Tensor], float | Tensor]
"""One number, a tensor of the address's shape, or a function of the value that is there."""

Edits = Mapping[str, NewValue]
"""Address of a value or a weight (whole, a slice or one element) to what it shall be instead."""

NOTHING: Edits = {}

Changes = list[tuple[Address, NewValue]]


def by_path(edit: Edits) -> dict[str, Changes]:
    """The edits of each value or weight, by its path."""
    grouped: dict[str, Changes] = {}
    for text, value in edit.items():
        where = Address.parse(text)
        if where.kind not in ("fwd", "weight"):
            raise GlassformerError(f"{text!r} cannot be edited; edit a value (fwd/) or a weight")
        grouped.setdefault(where.path, []).append((where, value))
    return grouped


def editor(changes: Changes) -> Editor:
    """What changes a value as a pass computes it."""

    def edited(value: Tensor, axes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        value = value.detach().clone()
        changed = torch.zeros(value.shape, dtype=torch.uint8, device=value.device)
        for where, new in changes:
            _put(value, where, axes, new)
            changed[where.slices(axes, tuple(value.shape))] = 1
        return changed, torch.where(changed == 1, value, 0)

    return edited


def with_weights(model: Watchable, weights: Mapping[str, Changes]) -> Watchable:
    """A copy of the model with some weights changed."""
    changed = deepcopy(model)
    views = {f"weight/{view.name}": view for view in changed.views()}
    with torch.no_grad():
        for path, changes in weights.items():
            if path not in views:
                raise GlassformerError(
                    f"this model has no weight {path!r}.{did_you_mean(path, views)}"
                )
            _, value, axes = views[path]
            for where, new in changes:
                _put(value, where, axes, new)
    return changed


def _put(value: Tensor, where: Address, axes: tuple[str, ...], new: NewValue) -> None:
    """Write over the slice at an address, which one number fills.

    What a function makes of the slice is put there as a number is: no gradient flows back through.
    """
    index = where.slices(axes, tuple(value.shape))
    if callable(new):
        new = new(value[index].detach().clone())
        if isinstance(new, Tensor):
            new = new.detach()
    if not isinstance(new, Tensor | Real):
        raise GlassformerError(
            f"{where} can't become {new!r}; give a number, a tensor, or a function that returns one"
        )
    if isinstance(new, Tensor) and new.ndim and new.shape != value[index].shape:
        raise GlassformerError(
            f"{where} is {[*value[index].shape]} here and the new value is {[*new.shape]}; give"
            " one number, a value of this shape, or the address of a part"
        )
    if value.is_floating_point() and isinstance(new, float | int):
        largest = torch.finfo(value.dtype).max
        if abs(new) > largest and not math.isinf(new):
            raise GlassformerError(
                f"{new} is beyond the numbers of {where}; the largest there is {largest:.6g}"
            )
    value[index] = new
