"""Counts and times of requests, in Prometheus' text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate, pairwise

from glassformer.server.v1.answer import Answer

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of a histogram's buckets."""


class Histogram:
    """How many times were no longer than each of SECONDS."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def add(self, *seconds: float) -> None:
        for one in seconds:
            self._counts[bisect_left(SECONDS, one)] += 1
        self._sum += sum(seconds)

    def lines(self, name: str) -> list[str]:
        below = [*accumulate(self._counts)]
        bounds = [*(f"{bound:g}" for bound in SECONDS), "+Inf"]
        buckets = zip(bounds, below, strict=True)
        return [
            *(f'{name}_bucket{{le="{bound}"}} {count}' for bound, count in buckets),
            f"{name}_sum {self._sum:.6f}",
            f"{name}_count {below[-1]}",
        ]


class Metrics:
    """What is counted; used from the event loop alone."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._prompt_tokens = self._new_tokens = 0
        self._first, self._between, self._request = Histogram(), Histogram(), Histogram()

    def watch(self, kind: str, answer: Answer) -> None:
        """Count a request, and once it ends what it took."""
        self._requests[kind] += 1
        answer.at_end(self._count)

    def refused(self, status: int) -> None:
        """Count an error that was answered."""
        self._refused[str(status)] += 1

    def _count(self, answer: Answer) -> None:
        self._prompt_tokens += answer.prompt_tokens
        self._new_tokens += answer.new_tokens
        how = "error" if answer.error is not None else "left" if answer.left else "done"
        self._ended[how] += 1
        self._request.add(answer.seconds)
        for choice in answer.choices:
            times = [] if choice.text is None else choice.text.times
            if times:
                self._first.add(times[0] - answer.begun)
            self._between.add(*[after - before for before, after in pairwise(times)])

    def text(self, running: int, waiting: int) -> str:
        """The page that Prometheus reads."""
        blocks = {
            ("requests_total", "counter", "Accepted requests, by endpoint."): _labeled(
                "requests_total", "endpoint", self._requests
            ),
            ("requests_ended_total", "counter", "Accepted requests, by how they ended."): _labeled(
                "requests_ended_total", "how", self._ended
            ),
            (
                "requests_refused_total",
                "counter",
                "Errors answered below /v1 or to what names no path, by status.",
            ): _labeled("requests_refused_total", "status", self._refused),
            ("prompt_tokens_total", "counter", "Tokens of prompts."): [
                f"glassformer_prompt_tokens_total {self._prompt_tokens}"
            ],
            ("new_tokens_total", "counter", "Tokens that were chosen."): [
                f"glassformer_new_tokens_total {self._new_tokens}"
            ],
            ("texts_running", "gauge", "Texts that are being continued."): [
                f"glassformer_texts_running {running}"
            ],
            ("texts_waiting", "gauge", "Texts that wait for a slot."): [
                f"glassformer_texts_waiting {waiting}"
            ],
            ("first_token_seconds", "histogram", "From a request to its first token."): (
                self._first.lines("glassformer_first_token_seconds")
            ),
            ("between_tokens_seconds", "histogram", "From one token of a text to the next."): (
                self._between.lines("glassformer_between_tokens_seconds")
            ),
            ("request_seconds", "histogram", "From a request to the end of its answer."): (
                self._request.lines("glassformer_request_seconds")
            ),
        }
        lines: list[str] = []
        for (name, kind, about), values in blocks.items():
            lines += [f"# HELP glassformer_{name} {about}", f"# TYPE glassformer_{name} {kind}"]
            lines += values
        return "\n".join(lines) + "\n"


def _labeled(name: str, label: str, counts: Counter[str]) -> list[str]:
    return [f'glassformer_{name}{{{label}="{key}"}} {counts[key]}' for key in sorted(counts)]
