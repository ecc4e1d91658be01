"""A part of one recorded value: a box of its elements, or the largest of every block of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from glassformer.server.errors import ApiError
from glassformer.trace import Address, Trace
from glassformer.trace.file import TILE_BYTES
from glassformer.trace.values_file import raw_bytes


def read_part(trace: Trace, address: str, begin: str, end: str, block: str) -> bytes:
    """The elements [begin, end) of a value; of every block of them, that of largest magnitude.

    `begin`, `end`, `block`: a whole number for each axis, with commas between; left out, the part
    is the whole value and a block one element. The answer is row-major, little-endian and in the
    value's own dtype.

    >>> from glassformer.model import Config, Decoder
    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
    >>> trace = model.watch(torch.tensor([[1, 2, 3]]))
    >>> column = bytearray(read_part(trace, "weight/blocks.0.mlp.W_in", "0,5", "6,6", ""))
    >>> expected = model.blocks[0].mlp.W_in[:, 5]
    >>> torch.equal(torch.frombuffer(column, dtype=torch.float32), expected)
    True
    """
    value = whole_value(trace, address)
    shape = list(value.shape)
    firsts = _for_each_axis("begin", begin, shape, [0] * len(shape))
    lasts = _for_each_axis("end", end, shape, shape)
    sides = _for_each_axis("block", block, shape, [1] * len(shape))
    bounds = list(zip(firsts, lasts, shape, strict=True))
    if not all(0 <= first < last <= n for first, last, n in bounds):
        raise ApiError(
            "range_not_satisfiable",
            f"{address} has the shape {shape}; begin={firsts} and end={lasts} leave it or hold"
            " nothing",
        )
    if not all(sides):
        raise ApiError("bad_request", f"a block holds at least one element; block={sides}")
    lengths = (math.ceil((b - a) / side) for a, b, side in zip(firsts, lasts, sides, strict=True))
    nbytes = math.prod(lengths) * value.dtype.itemsize
    if nbytes > TILE_BYTES:
        raise ApiError(
            "range_not_satisfiable",
            f"{nbytes:,} bytes are too many; ask for at most {TILE_BYTES:,} at a time: for a"
            " smaller part, or for larger blocks",
        )
    part = value[tuple(slice(first, last) for first, last, _ in bounds)]
    return raw_bytes(largest_of_blocks(part, sides)).tobytes()


def whole_value(trace: Trace, address: str) -> Tensor:
    """The value that an address without indices names."""
    where = Address.parse(address)
    if where.index:
        raise ApiError("invalid", f"name the whole value, {where.path}, without indices")
    return trace.value_of(trace.node(where)).detach()


def largest_of_blocks(value: Tensor, sides: list[int]) -> Tensor:
    """Of every block of so many elements along each axis, the one of largest magnitude.

    The last blocks may be smaller. A block with a nan in it is nan; -inf, which is how a mask is
    written, counts only where there is nothing else.

    >>> largest_of_blocks(torch.tensor([1.0, -3.0, 2.0, -math.inf, 5.0]), [2])
    tensor([-3.,  2.,  5.])
    """
    if all(side == 1 for side in sides):
        return value
    if value.dtype == torch.bool:
        value = value.view(torch.uint8)
    largest, least = _of_blocks(value, sides, torch.amax), _of_blocks(value, sides, torch.amin)
    if not least.isfinite().all():  # a nan hides whether there are -inf too
        least = _of_blocks(value.masked_fill(value == -math.inf, math.inf), sides, torch.amin)
    return torch.where((least < 0) & (-least > largest), least, largest)


def _of_blocks(value: Tensor, sides: list[int], reduce: Callable[..., Tensor]) -> Tensor:
    for axis, side in enumerate(sides):
        value = _reduced(value, axis, side, reduce)
    return value


def _reduced(value: Tensor, axis: int, side: int, reduce: Callable[..., Tensor]) -> Tensor:
    """`reduce` over every `side` neighbors along an axis, and over what is left at its end."""
    n = value.shape[axis]
    if side == 1:
        return value
    if side >= n:
        return reduce(value, axis, keepdim=True)
    even = n // side * side
    blocks = reduce(torch.unflatten(value.narrow(axis, 0, even), axis, (-1, side)), axis + 1)
    if even == n:
        return blocks
    return torch.cat([blocks, reduce(value.narrow(axis, even, n - even), axis, keepdim=True)], axis)


def _for_each_axis(name: str, text: str, shape: list[int], otherwise: list[int]) -> list[int]:
    if not text:
        return otherwise
    result = [int(number) for number in text.split(",")]
    if len(result) != len(shape):
        raise ApiError(
            "bad_request",
            f"{name}={text} gives {len(result)} numbers; the value has {len(shape)} axes, and each"
            " takes one",
        )
    return result
