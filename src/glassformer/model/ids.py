"""Token ids as people give them: one text or several, as lists, arrays or tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.ops import IGNORED

Ids = Tensor | np.ndarray | Sequence[int] | Sequence[Sequence[int]]
"""One text's ids [pos], or those of several texts of one length [batch, pos]."""


def as_ids(ids: Ids, vocab_size: int | None = None, what: str = "ids") -> Int[Tensor, "batch pos"]:
    """Ids as a tensor [batch, pos]; one text [pos] is a batch of one.

    vocab_size: ids outside 0 to vocab_size - 1 are refused; None: any whole number is taken.

    Errors: no token, no whole numbers, texts of different lengths, other axes than these.

    >>> as_ids([1, 2, 3])
    tensor([[1, 2, 3]])
    >>> as_ids([[1, 2], [3]])
    Traceback (most recent call last):
    ...
    glassformer.errors.GlassformerError: ids hold texts of 2 and 1 tokens; give texts of one length
    """
    result = _tensor(ids, what)
    if result.ndim == 1:
        result = result[None]
    if result.ndim != 2 or result.numel() == 0:
        raise GlassformerError(
            f"{what} must be [pos] or [batch, pos] with a token in it, not {[*result.shape]}"
        )
    if vocab_size is not None and not result.is_meta:
        refuse_outside(result, vocab_size)
    return result


def one_text(ids: Ids) -> list[int]:
    """The ids of one text, from [pos] or [1, pos]; [] for no token.

    >>> one_text(torch.tensor([[1, 2, 3]]))
    [1, 2, 3]
    """
    result = _tensor(ids, "ids")
    if result.ndim == 2 and len(result) > 1:
        raise GlassformerError(
            f"ids {[*result.shape]} are {len(result)} texts, and one is continued here; give [pos]"
            " or [1, pos], or all of them to generate_batch"
        )
    if result.ndim not in (1, 2):
        raise GlassformerError(f"ids must be [pos] or [1, pos], not {[*result.shape]}")
    return result.flatten().tolist()


def read_ids(ids: Ids, vocab_size: int) -> Int[Tensor, "batch pos"]:
    """Ids that have a row in the table each; on an accelerator nobody waits to see it."""
    return as_ids(ids, vocab_size if can_be_looked_at(ids) else None)


def read_targets(targets: Ids, shape: torch.Size, vocab_size: int) -> Int[Tensor, "batch pos"]:
    """Targets, as many as ids of this shape; outside the vocabulary is `IGNORED` only."""
    looked_at = can_be_looked_at(targets)
    targets = as_ids(targets, what="targets")
    if targets.shape != shape:
        raise GlassformerError(
            f"targets {[*targets.shape]} must have the shape of ids, {[*shape]}: one next"
            " token for each"
        )
    if looked_at:
        refuse_outside(targets.masked_fill(targets == IGNORED, 0), vocab_size)
    return targets


def read_seen(seen: Ids, shape: torch.Size) -> Bool[Tensor, "batch pos"]:
    """Which of ids of this shape are no padding, as True and False.

    >>> read_seen([[1, 1, 0]], torch.Size([1, 3]))
    tensor([[ True,  True, False]])
    """
    if isinstance(seen, Tensor) and seen.dtype == torch.bool:
        seen = seen.long()
    rows = _in_shape(as_ids(seen, what="seen"), shape, "seen")
    if can_be_looked_at(rows) and not bool(rows.any(1).all()):
        raise GlassformerError("seen hides every token of a text; give each text a token")
    return rows != 0


def read_begins(begins: Ids, shape: torch.Size) -> Int[Tensor, "batch pos"]:
    """For ids of this shape, the place where each token's document begins: its own or an earlier.

    >>> read_begins([[0, 0, 2]], torch.Size([1, 3]))
    tensor([[0, 0, 2]])
    """
    rows = _in_shape(as_ids(begins, what="begins"), shape, "begins")
    if can_be_looked_at(rows):
        positions = torch.arange(rows.shape[1], device=rows.device)
        if bool(((rows > positions) | (rows < 0)).any()):
            raise GlassformerError(
                "begins names a place after its token; give each token the place where its document"
                " begins, its own or an earlier one"
            )
    return rows


def read_types(types: Ids, shape: torch.Size, token_types: int) -> Int[Tensor, "batch pos"]:
    """The types of ids of this shape."""
    if token_types == 0:
        raise GlassformerError("this model has no token types; leave types out")
    looked_at = can_be_looked_at(types)
    types = _in_shape(as_ids(types, what="types"), shape, "types")
    if looked_at and not bool(((types >= 0) & (types < token_types)).all()):
        raise GlassformerError(f"types are 0 to {token_types - 1} in this model")
    return types


def _in_shape(rows: Tensor, shape: torch.Size, what: str) -> Tensor:
    if rows.shape != shape:
        raise GlassformerError(f"{what} {[*rows.shape]} must have the shape of ids, {[*shape]}")
    return rows


def can_be_looked_at(ids: Ids) -> bool:
    """Whether the numbers are there without waiting for a device."""
    plain = not isinstance(ids, Tensor) or (type(ids) is Tensor and ids.device.type == "cpu")
    return plain and not torch.compiler.is_compiling()


def refuse_longer(tokens: int, n_ctx: int) -> None:
    """Raise for more tokens than the model has positions."""
    if tokens > n_ctx:
        raise GlassformerError(
            f"{tokens} tokens do not fit the model's n_ctx={n_ctx} positions; shorten the text"
        )


def refuse_padding_in_front(seen: Bool[Tensor, "batch pos"]) -> None:
    """Raise where padding stands before a text, whose tokens would get the positions behind it.

    BERT counts them so and RoBERTa does not; behind a text padding changes nothing in either.
    """
    if can_be_looked_at(seen) and not bool(seen[:, 0].all()):
        row = int(seen[:, 0].long().argmin())
        raise GlassformerError(
            f"padding stands before the text of row {row}, and this model has a vector for each"
            " position, counted from the row's beginning; put padding behind the text"
        )


def refuse_outside(ids: Tensor, vocab_size: int) -> None:
    """Raise for an id that the model has no row for."""
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise GlassformerError(
            f"token id {low if low < 0 else high} is outside the vocabulary of"
            f" {vocab_size}; use the tokenizer that the model was trained with"
        )


def _tensor(ids: Any, what: str) -> Tensor:
    """Whole numbers as a tensor of int64, in which targets have to be."""
    values = ids if isinstance(ids, Tensor) else _from_values(ids, what)
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        kind = str(values.dtype).removeprefix("torch.")
        raise GlassformerError(f"{what} are whole numbers, not {kind}; use ids from encode()")
    return values.long()


def _from_values(ids: Any, what: str) -> Tensor:
    rows: list[Any] = []
    try:
        rows = [ids] if isinstance(ids, str) else [*ids]
        return torch.as_tensor(np.asarray(rows) if rows else np.empty(0, np.int64))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        lengths = [len(row) for row in rows if isinstance(row, Sequence | Tensor | np.ndarray)]
        if len(set(lengths)) > 1:
            other = next(n for n in lengths if n != lengths[0])
            raise GlassformerError(
                f"{what} hold texts of {lengths[0]} and {other} tokens; give texts of one length"
            ) from None
        raise GlassformerError(
            f"{what} are whole numbers, [pos] or [batch, pos], not {_short(ids)}; encode() makes"
            " them of a text"
        ) from None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def read_pairs(
    rows: int, reference: Tensor | None, beta: Tensor | None
) -> dict[str, Float[Tensor, " batch"]]:
    """What pairs of rows are compared by; raises where it is not there for each of them."""
    if reference is None and beta is None:
        return {}
    arguments = {"reference": reference, "beta": beta}
    for name, value in arguments.items():
        if value is None or value.shape != (rows,) or rows % 2:
            raise GlassformerError(
                "pairs of replies need an even number of rows, and reference and beta of each; here"
                f" are {counted(rows, 'row')} and {name} is"
                f" {'missing' if value is None else [*value.shape]}"
            )
    return {name: value for name, value in arguments.items() if value is not None}
