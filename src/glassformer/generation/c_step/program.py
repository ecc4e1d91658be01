"""The calls of a decoding step, in order, as two C functions: for a text, and for rows of texts.

`step` reads one token. `rows` reads some tokens, each of a text of its own or several that follow
each other in one; products with matrices are made for all of them at once, all else row by row, by
the same functions. So the numbers of a row do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from glassformer.generation.c_step.layout import Layout

LINE = 16
"""Values begin at multiples of so many numbers, a cache line of floats."""


@dataclass(eq=False)
class Buffer:
    """Where a value is stored while the step runs, and its layout.

    `fixed` is its address in C; a value without one is in the scratch buffer, in `size` numbers
    from `offset` on.
    """

    layout: Layout
    fixed: str | None = None
    size: int = 0
    offset: int = 0

    @property
    def address(self) -> str:
        return self.fixed or f"scratch + {self.offset}"

    @property
    def padded_size(self) -> int:
        """Numbers that it takes, in whole lines."""
        return -(-self.size // LINE) * LINE

    @property
    def is_constant(self) -> bool:
        return self.fixed is not None and self.fixed.startswith("constants")


@dataclass(eq=False)
class Call:
    """A function that computes `out`; `rows_function`, if there is one, does so for many rows."""

    function: str
    out: Buffer
    operands: list[Buffer]
    rows_function: str | None = None

    def code(self) -> str:
        arguments = ", ".join(buffer.address for buffer in (self.out, *self.operands))
        return f"{self.function}({arguments}, n);"


@dataclass(eq=False)
class Copy:
    """A value that is kept: at `target`, `count` numbers."""

    source: Buffer
    target: str
    count: int

    @property
    def out(self) -> None:
        return None

    @property
    def operands(self) -> list[Buffer]:
        return [self.source]

    @property
    def rows_function(self) -> None:
        return None

    def code(self) -> str:
        return f"memcpy({self.target}, {self.source.address}, {self.count} * sizeof(real));"


class Program:
    """All calls, in order; `scratch` is how many numbers a row's buffer holds."""

    def __init__(self, calls: list[Call | Copy]) -> None:
        self.calls = calls
        self.scratch = _allocate(calls)

    def step(self) -> Iterator[str]:
        """The lines of a function that reads one token."""
        yield "void step(const real *const *constants, void *const *cache, real *scratch,"
        yield "          int64_t token, int64_t n, real *logits) {"
        yield "  int64_t position = n - 1;"
        yield from (f"  {call.code()}" for call in self.calls)
        yield "}\n"

    def rows(self, halves: int, vocab_size: int) -> Iterator[str]:
        """The lines of one that reads several, and gives logits of those `from` some row on.

        halves: buffers of a text's cache, keys and values by layer.
        """
        parts = [[*part] for _, part in groupby(self.calls, _kind)]
        head = max(n for n, part in enumerate(parts) if _kind(part[0]) == "product")
        yield "void rows(const real *const *constants, void *const *caches, real *buffers,"
        yield "          const int64_t *tokens, const int64_t *positions, int64_t rows,"
        yield "          int64_t from, real *all_logits) {"
        for number, part in enumerate(parts):
            first = "from" if number >= head else "0"  # what makes the logits
            if number == head:
                yield "  if (from == rows) return;"
            if _kind(part[0]) == "product":
                yield f"  {{ real *scratch = buffers + {first} * ROW;"
                yield from (f"    {_code_of_rows(call, first)}" for call in part)
                yield "  }"
                continue
            yield f"  for (int64_t row = {first}; row < rows; row++) {{"
            yield f"    void *const *cache = caches + row * {halves};"
            yield "    real *scratch = buffers + row * ROW;"
            yield f"    real *logits = all_logits + (row - from) * {vocab_size};"
            yield "    int64_t token = tokens[row], position = positions[row], n = position + 1;"
            yield "    (void)cache, (void)logits, (void)token, (void)position;"
            yield from (f"    {call.code()}" for call in part)
            yield "  }"
        yield "}\n"


def _code_of_rows(call: Call | Copy, first: str) -> str:
    arguments = ", ".join(buffer.address for buffer in _buffers(call))
    return f"{call.rows_function}({arguments}, rows - {first});"


def _buffers(call: Call | Copy) -> Sequence[Buffer]:
    return [call.out, *call.operands] if call.out is not None else call.operands


def _allocate(calls: list[Call | Copy]) -> int:
    """Give every value its part of the buffer; what is read no more makes room for another."""
    last = {id(buffer): n for n, call in enumerate(calls) for buffer in _buffers(call)}
    free: dict[int, list[int]] = {}
    total = 0
    for n, call in enumerate(calls):
        if call.out is not None:
            if free.get(call.out.padded_size):
                call.out.offset = free[call.out.padded_size].pop()
            else:
                call.out.offset, total = total, total + call.out.padded_size
        for buffer in dict.fromkeys(_buffers(call)):
            if buffer.fixed is None and last[id(buffer)] == n:
                free.setdefault(buffer.padded_size, []).append(buffer.offset)
    return total


def _kind(call: Call | Copy) -> str:
    """Which calls stand together: those of a matrix, what is kept, and all else.

    What is kept is apart, so that every row's keys are there before any row looks for them.
    """
    if isinstance(call, Copy):
        return "kept"
    return "product" if call.rows_function else "alone"
