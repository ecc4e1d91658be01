"""The plain choice of a token for rows of texts, by one C function: no cuts, nothing steered.

`choose_rows` says what is chosen: it sorts all tokens and adds up their probabilities. Few of them
decide where the drawn number falls, so only the likeliest are sorted here. Sums in another order
are rounded otherwise; where that could matter the function says so, and `choose_rows` is asked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from glassformer.generation.c_step.expressions import preamble
from glassformer.generation.c_step.library import c_library
from glassformer.generation.c_step.row_products import MOST_ROWS
from glassformer.generation.c_step.step import REALS

UNDECIDED = -1
MOST = 16384
"""Candidates that are sorted at most, of three numbers each."""

PER_NAT, SHELLS = 4, 40
"""How many shells a nat of scores has, and how many there are; the last has all the rest."""

SOURCE = (
    f"""
#define MOST {MOST}
#define UNDECIDED {UNDECIDED}
#define PER_NAT {PER_NAT}
#define SHELLS {SHELLS}
"""
    + """
typedef struct { double score, weight; int64_t token; } Candidate;

static inline int is_before(Candidate a, Candidate b) {
  return a.score > b.score || (a.score == b.score && a.token < b.token);
}

/* of a heap, whose first candidate comes before all others, the part below `at` */
static void sift(Candidate *heap, int64_t n, int64_t at) {
  Candidate moved = heap[at];
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && is_before(heap[child + 1], heap[child])) child++;
    if (!is_before(heap[child], moved)) break;
    heap[at] = heap[child];
  }
  heap[at] = moved;
}

static inline int shell_of(double below) {
  double shell = below * PER_NAT;
  return shell < SHELLS - 1 ? (int)shell : SHELLS - 1;
}

/* sums of 2^20 weights, each rounded, are this close to each other and to the exact one */
#define DOUBT 1e-9

static int64_t choose(const real *row, int64_t n, double temperature, double u,
                      double *scores, double *weights, Candidate *heap) {
  double largest = -INFINITY, total = 0;
  #pragma omp simd reduction(max:largest)
  for (int64_t i = 0; i < n; i++) {
    scores[i] = (double)row[i] / temperature;
    largest = scores[i] > largest ? scores[i] : largest;
  }
  #pragma omp simd reduction(+:total)
  for (int64_t i = 0; i < n; i++) {
    weights[i] = exp(scores[i] - largest);
    total += weights[i];
  }
  if (!(total < INFINITY)) return UNDECIDED; /* or no number */
  for (double reach = 8; reach < 100; reach *= 1.5) { /* below 44 nats is less than DOUBT */
    double least = largest - reach, masses[SHELLS] = {0};
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++) {
      if (!(scores[i] >= least)) continue;
      if (left == MOST) return UNDECIDED;
      heap[left++] = (Candidate){scores[i], weights[i], i};
      masses[shell_of(largest - scores[i])] += weights[i];
    }
    /* the shell in which the line from 0 to 1 passes u, and where it begins */
    int shell = 0;
    double line = 0;
    while (shell < SHELLS && (line + masses[shell]) / total < u + DOUBT) line += masses[shell++];
    if (shell == SHELLS) continue;
    if (fabs(line / total - u) < DOUBT) return UNDECIDED;
    int64_t inside = 0;
    for (int64_t i = 0; i < left; i++)
      if (shell_of(largest - heap[i].score) == shell) heap[inside++] = heap[i];
    for (int64_t at = inside / 2; at-- > 0;) sift(heap, inside, at);
    for (; inside > 0; sift(heap, inside, 0)) {
      line += heap[0].weight;
      double end = line / total;
      if (fabs(end - u) < DOUBT) return UNDECIDED;
      if (end > u) return heap[0].token;
      heap[0] = heap[--inside];
    }
    return UNDECIDED;
  }
  return UNDECIDED;
}

void choices(const real *logits, int64_t n, int64_t rows, const int64_t *which,
             const double *temperatures, const double *drawn, double *work, int64_t *tokens) {
  double *weights = work + n;
  Candidate *heap = (Candidate *)(weights + n);
  for (int64_t k = 0; k < rows; k++)
    tokens[k] = choose(logits + which[k] * n, n, temperatures[k], drawn[k], work, weights, heap);
}
"""
)


class CompiledChoice:
    """Chooses for up to MOST_ROWS rows of logits [row, vocab]; raises as `c_library` does."""

    def __init__(self, dtype: torch.dtype, vocab_size: int) -> None:
        self._run = c_library(preamble(REALS[dtype]) + SOURCE).choices
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._run.argtypes = [pointer, number, number, *[pointer] * 5]
        self._run.restype = None
        self._vocab_size = vocab_size
        self._work = torch.empty(2 * vocab_size + 3 * MOST, dtype=torch.float64)
        self._rows, self._tokens = ((number * MOST_ROWS)() for _ in range(2))
        self._temperatures, self._drawn = ((ctypes.c_double * MOST_ROWS)() for _ in range(2))

    def tokens(
        self,
        logits: Tensor,
        rows: Sequence[int],
        temperatures: Sequence[float],
        drawn: Sequence[float],
    ) -> list[int]:
        """The token of each of these rows by the number drawn for it, or UNDECIDED."""
        n = len(rows)
        self._rows[:n], self._temperatures[:n], self._drawn[:n] = rows, temperatures, drawn
        numbers = self._rows, self._temperatures, self._drawn, self._work.data_ptr(), self._tokens
        self._run(logits.data_ptr(), self._vocab_size, n, *numbers)
        return self._tokens[:n]
