"""Several processes: tokens per second, memory of each, and the share of a step that is exchange.

One process against two (gloo, one thread each) of the same model, batch and step: copies (DDP) and
parts (FSDP2), timed in turn. The exchange is what a step takes longer than the same step of a rank
by itself, both at it at the same time. The model on paper (`on_paper`) gets the seconds of such a
step and of every bare exchange, and says what a step would take with all of the exchange hidden,
and with none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, one_thread
from bench.on_paper import EXCHANGES, Step
from bench.scale_worker import CONFIG, ONE, RECIPE, loop_of, timed
from glassformer.training.ranks import ALONE

RANKS = 2
LEAST_STEPS = 5


def run(seconds: float) -> Iterator[Row]:
    tokens = RECIPE.batch_size * CONFIG.n_ctx
    with one_thread():
        estimate = timed(loop_of(ALONE, RECIPE.batch_size).advance, 2)
    steps = max(LEAST_STEPS, round(seconds / (4 * estimate)))  # all that is timed in a turn
    measured = together(steps)
    alone = measured[ONE]
    yield Row(ONE, tokens / alone, "tokens/s", rounds=steps)
    yield Row(f"{ONE}: weights, gradient, moments", measured[f"{ONE} bytes"] / 1e6, "MB")
    for kind, exchanged in EXCHANGES.items():
        took = measured[kind]
        name = f"{RANKS} processes, {kind}"
        yield Row(name, tokens / took, "tokens/s", ONE, tokens / alone, rounds=steps)
        yield Row(f"{name}: held by each", measured[f"{kind} bytes"] / 1e6, "MB")
        itself = measured[f"{kind} alone"]
        yield Row(f"{name}: exchange", 100 * (1 - itself / took), "% of a step")
        paper = Step(itself, sum(measured[exchange] for exchange in exchanged))
        what = f"{name}: a step"
        yield Row(what, 1000 * took, "ms", "on paper, hidden", 1000 * paper.hidden)
        yield Row(what, 1000 * took, "ms", "on paper, plain", 1000 * paper.plain)


def together(steps: int) -> dict[str, float]:
    """What `scale_worker` measures in as many processes as RANKS."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "measured.json")
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        worker = ["--nproc-per-node", str(RANKS), "-m", "bench.scale_worker", str(steps), str(file)]
        subprocess.run([*launch, *worker], check=True, capture_output=True)
        return json.loads(file.read_text())
