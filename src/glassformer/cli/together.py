"""A command that torchrun has started several times: one job, of which the first rank speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

from glassformer.cli.streams import say, sentence_of
from glassformer.cli.torchrun import leave_for_torchrun
from glassformer.errors import GlassformerError
from glassformer.training.ranks import ALONE, FirstFailedError, Ranks, launched

DEADLINE, LONGEST_DEADLINE = 600.0, 86_400  # seconds


@contextlib.contextmanager
def together(device: str, shard: bool, deadline: float) -> Iterator[Ranks]:
    """The ranks that train; an error that several of them meet is said by one."""
    if deadline > LONGEST_DEADLINE:
        raise GlassformerError(
            f"--deadline {deadline:g} is more than a day; give at most {LONGEST_DEADLINE} seconds"
        )
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
        except BrokenPipeError:  # who read the first one's output has gone
            raise
        except (GlassformerError, OSError) as error:
            line = f"error: {sentence_of(error)}"
            leave_for_torchrun(line)
            if ranks.says_first(line):
                say(line, error=True)
            raise typer.Exit(2) from None
