"""Alternating timings, their ratio with its noise, and one row of the table that all print."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

LEAST_ROUNDS = 4
RESAMPLES = 4000


class Ratio(NamedTuple):
    """The median of paired ratios, and the interval that holds it with 95% confidence."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Row:
    """One line of the table: ours, the peer, their ratio and what it is to be.

    `target` is ("<=" or ">=", bound) and holds for the ratio, or without one for our own figure;
    with `whole` for the whole interval of the ratio.
    """

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    ratio: Ratio | None = None
    target: tuple[str, float] | None = None
    rounds: int = 1
    by_interval: bool = False

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        sign, bound = self.target
        figure = self.ratio.median if self.ratio else self.ours
        if self.ratio and self.by_interval:
            figure = self.ratio.high if sign == "<=" else self.ratio.low
        met = figure <= bound if sign == "<=" else figure >= bound
        return f"{sign} {bound:g} {'met' if met else 'MISSED'}"

    def __str__(self) -> str:
        ours = f"{self.ours:,.4g} {self.unit}"
        theirs = "" if self.theirs is None else f"{self.theirs:,.4g} {self.unit}"
        ratio = str(self.ratio or "")
        cells = f"{self.what:46} {ours:>16}  {theirs:>16}  {self.peer:24} {ratio:22}"
        return f"{cells} {self.rounds:>6}  {self.verdict}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


HEADER = (
    f"{'what':46} {'ours':>16}  {'peer':>16}  {'(who that is)':24} {'ours / peer [95%]':22}"
    f" {'rounds':>6}  target"
)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, for measuring in processor time: two threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def alternate(
    contestants: Mapping[str, Callable[[], object]],
    seconds: float,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, in rounds in which each has its turn.

    `clock` may be ``time.process_time``, which stands still while other programs have the
    processor, and counts every thread of this one.

    Every round goes through them the other way round than the one before, so that neither comes
    always first. A turn is the mean of `calls` calls; short ones need several. There are as many
    rounds as fit into `seconds`, and at least LEAST_ROUNDS.
    """
    for once in contestants.values():
        once()  # caches fill, memory grows, compilers compile
        once()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    gc.collect()
    gc.disable()
    gc.freeze()  # what is there now is not looked through in every round
    begun, rounds = time.perf_counter(), 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - begun < seconds:
        for name in order:
            once = contestants[name]
            start = clock()
            for _ in range(calls):
                once()
            times[name].append((clock() - start) / calls)
        gc.collect()
        order.reverse()
        rounds += 1
    gc.unfreeze()
    gc.enable()
    return times


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> Ratio:
    """Median of the ratios within a round; its interval by the bootstrap over rounds.

    What slows the machine down for a while slows both halves of a pair, and drops out. Source:
    Efron and Tibshirani 1993, section 13.3 (percentile intervals).
    """
    ratios = np.array([a / b for a, b in zip(ours, theirs, strict=True)])
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return Ratio(float(np.median(ratios)), float(low), float(high))


def compare(
    what: str,
    times: Mapping[str, list[float]],
    ours: str,
    peer: str,
    target: tuple[str, float] | None = None,
    per_second: float | None = None,
    by_interval: bool = False,
) -> Row:
    """A row in milliseconds, or in `per_second` things a second, of two contestants' times."""
    mine, theirs = times[ours], times[peer]
    if per_second is not None:
        figures = [per_second / statistics.median(t) for t in (mine, theirs)]
        quotient, unit = ratio(theirs, mine), "tokens/s"
    else:
        figures = [1000 * statistics.median(t) for t in (mine, theirs)]
        quotient, unit = ratio(mine, theirs), "ms"
    return Row(what, figures[0], unit, peer, figures[1], quotient, target, len(mine), by_interval)


def peak_bytes(once: Callable[[], object]) -> int | None:
    """How far the process grows while `once` runs; None where the system (not Linux) won't say."""
    if platform.system() != "Linux":
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be reused unseen
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    held = once()  # until the mark is read
    grown = _status("VmHWM") - before
    del held
    return grown


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def machine() -> dict[str, Any]:
    """Where and when this is measured, and how busy it is there."""
    names = ("torch", "transformers", "transformer-lens", "numpy")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "absent"


def _processor() -> str:
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
