"""The values of a trace as a safetensors file that need not be written to be read."""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from glassformer.trace.graph import Graph

DTYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Their names in a safetensors header."""

Extents = dict[str, tuple[int, int]]
"""Where each value's bytes lie in the file, [begin, end)."""


class ValuesFile:
    """The bytes of ``values.safetensors``, taken from the tensors' own memory when they are read.

    A value that does not lie row-major in memory (a view) is copied once, when it is first read.

    >>> from glassformer.model import Config, Decoder
    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
    >>> trace = model.watch(torch.tensor([[1, 2, 3]]))
    >>> file = ValuesFile(trace)
    >>> torch.frombuffer(bytearray(file.read(*file.extents["token/ids"])), dtype=torch.int64)
    tensor([1, 2, 3])
    """

    def __init__(self, trace: Graph) -> None:
        kept = [node for node in trace.nodes.values() if node.value is not None]
        # the widest first, so that every value is aligned to its own width
        kept.sort(key=lambda node: -node.dtype.itemsize)
        header: dict[str, object] = {"__metadata__": {"format": "glassformer-trace"}}
        end = 0
        for node in kept:
            begin, end = end, end + node.nbytes
            header[node.path] = {
                "dtype": DTYPES[node.dtype],
                "shape": node.shape,
                "data_offsets": (begin, end),
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._head = struct.pack("<Q", len(text)) + text
        start = len(self._head)
        self._values = [trace.value_of(node) for node in kept]
        self._bytes: dict[int, np.ndarray] = {}
        self.extents: Extents = {}
        for node in kept:
            self.extents[node.path] = (start, start + node.nbytes)
            start += node.nbytes
        self._begins = [begin for begin, _ in self.extents.values()]
        self.size = start

    def read(self, begin: int, end: int) -> bytes:
        """The bytes [begin, end) of the file; what lies beyond its end is left out."""
        end = min(end, self.size)
        parts = [self._head[begin:end]]
        at = max(begin, len(self._head))
        i = max(bisect_right(self._begins, at) - 1, 0)
        while at < end:
            start = self._begins[i]
            part = self._raw(i)[at - start : end - start].tobytes()
            parts.append(part)
            at += len(part)
            i += 1
        return b"".join(parts)

    def tiles(self, size: int) -> Iterator[bytes]:
        """The whole file, `size` bytes at a time."""
        for begin in range(0, self.size, size):
            yield self.read(begin, begin + size)

    def _raw(self, i: int) -> np.ndarray:
        """The bytes of value number i, row-major and on the CPU."""
        if i not in self._bytes:
            self._bytes[i] = raw_bytes(self._values[i])
        return self._bytes[i]

    @property
    def copied(self) -> int:
        """Bytes of the values that were copied to be read."""
        return sum(
            part.nbytes
            for i, part in [*self._bytes.items()]
            if part.ctypes.data != self._values[i].data_ptr()
        )


def raw_bytes(value: Tensor) -> np.ndarray:
    """A tensor's bytes, row-major; its own memory where that is how they lie."""
    flat = value.detach().cpu().contiguous().reshape(-1)
    flat = flat.as_strided(flat.shape, (1,))  # one number that was expanded has stride 0
    return flat.view(torch.uint8).numpy()
