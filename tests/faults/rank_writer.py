"""One rank of a training that saves often, goes on by itself, and ends when `enough` is there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

from glassformer.metrics import Row
from glassformer.training.distributed import join
from glassformer.training.loop import train
from glassformer.training.run import Description, Run
from tests.training.small import TOKENIZER, small_data, small_model, small_recipe

RECIPE = small_recipe(steps=100_000, lr=1e-3, eval_every=0, save_every=5, snapshot_mb=0)
PACE = 0.02  # seconds a step takes at least


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    run, model = folder / "run", small_model().double()  # in float64 sums differ by 1e-16
    with join("cpu", sharded="--shard" in sys.argv, deadline=300) as ranks:
        if ranks.is_first and not (run / "run.json").exists():
            described = Description(model.config, RECIPE, {}, TOKENIZER.fingerprint)
            with Run.create(run) as new:
                new.describe(described, TOKENIZER)
        ranks.any(False)  # the others wait for the folder
        (folder / f"pid-{ranks.rank}").write_text(str(os.getpid()))

        def report(row: Row) -> None:
            if "loss" in row:
                time.sleep(PACE)

        with Run.reopen(run, follows=not ranks.is_first) as opened, ranks.naming_the_missing():
            train(
                model,
                small_data(),
                RECIPE,
                run=opened,
                report=report,
                should_stop=(folder / "enough").exists,
                ranks=ranks,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
