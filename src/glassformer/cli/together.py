"""A command that torchrun has started several times: one job, of which the first rank speaks."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from glassformer.cli.streams import say
from glassformer.errors import GlassformerError
from glassformer.training.ranks import ALONE, FirstFailedError, Ranks, launched

DEADLINE = 600.0  # seconds


@contextlib.contextmanager
def together(device: str, shard: bool, deadline: float) -> Iterator[Ranks]:
    """The ranks that train; an error that several of them meet is said by one."""
    if not launched():
        if shard:
            raise GlassformerError(
                "--shard spreads a model over several processes, and this is one; start them with"
                " `torchrun --nproc-per-node 2 -m glassformer train ... --shard`"
            )
        yield ALONE
        return
    from glassformer.training.distributed import join

    with join(device, shard, deadline) as ranks:
        try:
            with ranks.naming_the_missing():
                yield ranks
        except FirstFailedError:
            raise typer.Exit(2) from None
        except GlassformerError as error:
            if ranks.says_first(str(error)):
                say(f"error: {error}", error=True)
                leave_for_torchrun(f"error: {error}")
            raise typer.Exit(2) from None


def leave_for_torchrun(line: str) -> None:
    """Why this rank ends, where torchrun looks for it: its own report, which follows, says it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file is not None:
        failure = {"message": line, "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(file).write_text(json.dumps({"message": failure}), encoding="utf-8")


def restarted() -> bool:
    """Whether torchrun has started the job again, after one of its processes was gone."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
