"""Long sums in C, in an order that is said and that processors are quick at.

Left to it, the compiler adds up a sum by parts, side by side, and then the parts one after another,
which takes longer than the terms of an attention score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from glassformer.generation.c_step.layout import Extent

LANES = (8, 16)
"""How many parts of a sum are added up side by side."""


class Lines:
    """C as lines, each as deep as its block."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def open(self, text: str) -> None:
        self.line(text)
        self.depth += 1

    def close(self) -> None:
        self.depth -= 1
        self.line("}")


def has_lanes(length: Extent) -> bool:
    """Whether sums of so many terms are long enough for `Lanes`, and their length is known."""
    return not length.symbolic and length.times >= min(LANES)


class Lanes:
    """Sums of `length` terms, by their names: term i is added to lane i mod n.

    At the `end` one half of the lanes is added to the other, and so on. Between the two, `add` may
    stand in loops.
    """

    def __init__(self, to: Lines, names: Sequence[str], length: int) -> None:
        self._to, self._names, self._length = to, names, length
        self._n = max(lanes for lanes in LANES if lanes <= length)
        for name in names:
            to.line(f"real {name}_{self._n}[{self._n}] = {{0}};")

    def add(self, terms: Callable[[str], Iterable[str]]) -> None:
        """Add each sum's term, in C, that stands at an index, in C; for all indices."""
        n, rest = self._n, self._length % self._n
        self._to.open(f"for (int64_t first = 0; first + {n} <= {self._length}; first += {n}) {{")
        self._each(n, terms("(first + lane)"))
        self._to.close()
        if rest:
            self._each(rest, terms(f"({self._length - rest} + lane)"))

    def _each(self, count: int, terms: Iterable[str]) -> None:
        self._to.line("#pragma omp simd")
        self._to.open(f"for (int64_t lane = 0; lane < {count}; lane++) {{")
        for name, term in zip(self._names, terms, strict=True):
            self._to.line(f"{name}_{self._n}[lane] += {term};")
        self._to.close()

    def end(self) -> None:
        """Declare the sums."""
        n = self._n
        while n > 1:
            n //= 2
            for name in self._names:
                self._to.line(f"real {name}_{n}[{n}];")
                self._to.line("#pragma omp simd")
                self._to.open(f"for (int64_t lane = 0; lane < {n}; lane++) {{")
                halves = f"{name}_{2 * n}[lane] + {name}_{2 * n}[lane + {n}]"
                self._to.line(f"{name}_{n}[lane] = {halves};")
                self._to.close()
        for name in self._names:
            self._to.line(f"real {name} = {name}_1[0];")
