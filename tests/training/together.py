"""What each of several processes does for `test_distributed`; torchrun starts it once for all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import torch

from glassformer.errors import GlassformerError
from glassformer.metrics import Row
from glassformer.model import Decoder
from glassformer.model.parts import Lora
from glassformer.training.data import Data
from glassformer.training.distributed import Group, join
from glassformer.training.loop import Outcome, train
from glassformer.training.ranks import ALONE, Ranks, local
from glassformer.training.recipe import Recipe
from glassformer.training.run import Description, Run
from tests.training.small import TOKENIZER, small_data, small_model, small_pairs, small_recipe

OPTIMIZERS = ("adamw", "muon")
RUNS = (("adamw", "copies"), ("muon", "parts"))  # DDP, FSDP2
HALF, END = 4, 6
SAVED, SPOILED = 2, 3  # a step that is saved; the step after which a weight overflows
BRIEFLY, LONG = 12, 50  # steps of what is compared with one process
LORA = Lora(rank=2, alpha=4.0, on=("W_Q", "W_V"))


def long_runs(steps: int) -> Sequence[tuple[str, str]]:
    """Which optimizers are compared with one process, and how: briefly, each of them one way."""
    everything = [(optimizer, kind) for optimizer in OPTIMIZERS for _, kind in RUNS]
    return RUNS if steps == BRIEFLY else everything


def long_recipe(optimizer: str, steps: int = LONG) -> Recipe:
    """So many steps at usual rates."""
    choices = {"steps": steps, "lr": 1e-3, "muon_lr": 0.02, "accumulate": 2, "eval_every": 10}
    return small_recipe(optimizer=optimizer, **choices)


def losses_of(
    ranks: Ranks, recipe: Recipe, model: Decoder | None = None, data: Data | None = None
) -> dict[str, list[float]]:
    rows = train(model or small_model(), data or small_data(), recipe, ranks=ranks).rows
    return {
        name: [row.get(name, 0.0) for row in rows if name in row]
        for name in ("loss", "val_loss", "grad_norm")
    }


def run_to(
    ranks: Ranks,
    folder: Path,
    step: int,
    optimizer: str,
    dropout: float = 0.0,
    model: Decoder | None = None,
    report: Callable[[Row], None] = lambda row: None,
) -> Outcome:
    """Begin a run, or go on with it, and stop after a step."""
    rates = {"lr": 1e-3, "muon_lr": 0.02}
    often = {"eval_every": 4, "save_every": SAVED}
    recipe = small_recipe(
        steps=END, optimizer=optimizer, accumulate=2, snapshot_mb=0, **often, **rates
    )
    model = model or small_model(dropout=dropout)
    if ranks.is_first and not (folder / "run.json").exists():
        with Run.create(folder) as run:
            run.describe(Description(model.config, recipe, {}, TOKENIZER.fingerprint), TOKENIZER)
    ranks.any(False)  # the others wait for the folder
    steps = count(newest(folder))
    with Run.reopen(folder, follows=not ranks.is_first) as run:
        return train(
            model,
            small_data(),
            recipe,
            run=run,
            report=report,
            should_stop=lambda: next(steps) >= step,
            ranks=ranks,
        )


def newest(folder: Path) -> int:
    """The newest step that a run has saved."""
    return max((int(path.name[5:]) for path in folder.glob("checkpoints/step-??????")), default=0)


def main(folder: Path, *asked: str) -> None:
    """All that is checked, over `steps`; or only runs NAME=STEP, as far as said; or `compiled`."""
    torch.set_num_threads(1)
    with join("cpu", sharded=False, deadline=600) as copies:
        parts = Group(copies.store, copies.rank, copies.size, copies.device, sharded=True)
        kinds = {"copies": copies, "parts": parts}
        if asked == ("compiled",):
            write_compiled(folder / "compiled.json", kinds)
            return
        for name, step in (run.split("=") for run in asked if "=" in run):
            for optimizer, kind in RUNS:
                run_to(kinds[kind], folder / f"{name}-{kind}", int(step), optimizer)
        if not asked[0].isdigit():
            return
        steps = int(asked[0])
        losses = {
            f"{optimizer} {kind}": losses_of(kinds[kind], long_recipe(optimizer, steps))
            for optimizer, kind in long_runs(steps)
        }
        few = long_recipe("adamw", END)
        losses["adapters"] = losses_of(copies, few, small_model(lora=LORA))
        losses["pairs"] = losses_of(copies, few, data=small_pairs())
        if copies.is_first:
            (folder / "losses.json").write_text(json.dumps(losses))
        for optimizer, kind in RUNS:
            ranks = kinds[kind]
            run_to(ranks, folder / f"straight-{kind}", END, optimizer, dropout=0.1)
            run_to(ranks, folder / f"halves-{kind}", HALF, optimizer, dropout=0.1)
            run_to(ranks, folder / f"halves-{kind}", END, optimizer, dropout=0.1)
            run_to(ranks, folder / f"from-one-{kind}", END, optimizer)
            run_to(ranks, folder / f"to-one-{kind}", HALF, optimizer)
        said = {kind: spoiled(ranks, folder / f"spoiled-{kind}") for kind, ranks in kinds.items()}
        (folder / f"said-{copies.rank}.json").write_text(json.dumps(said))


def write_compiled(file: Path, kinds: dict[str, Group]) -> None:
    """Losses of a few compiled steps of each kind, and all notes about them."""
    recipe = long_recipe("adamw").replace(steps=6, compile=True)
    said = {}
    for kind, ranks in kinds.items():
        rows = train(small_model(), small_data(), recipe, ranks=ranks).rows
        notes = [row["note"] for row in rows if "note" in row]
        said[kind] = [row["loss"] for row in rows if "loss" in row], notes
    if kinds["copies"].is_first:
        file.write_text(json.dumps(said))


def spoiled(ranks: Ranks, folder: Path) -> str:
    """What a rank raises when a weight overflows."""
    model = small_model()

    def spoil(row: Row) -> None:
        if row["step"] == SPOILED and "loss" in row:
            with torch.no_grad():
                local(dict(model.named_parameters())["blocks.0.attn.W_QKV"]).fill_(3e38)

    try:
        run_to(ranks, folder, END, "adamw", model=model, report=spoil)
    except GlassformerError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def before(folder: Path) -> None:
    """What one process does first: runs that the others go on with."""
    for optimizer, kind in RUNS:
        run_to(ALONE, folder / f"from-one-{kind}", HALF, optimizer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
