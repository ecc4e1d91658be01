"""One choice, recorded: everything from the model's scores to the token."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from glassformer import ops
from glassformer.trace import Recorder, Trace
from glassformer.trace.predicted import asked_pos


@runtime_checkable  # so that the tests can check annotations
class Settings(Protocol):
    """How a token is chosen."""

    def params(self) -> dict[str, Any]:
        """The settings as `ops.choose` takes them."""
        ...


def record_choice(
    trace: Trace, settings: Settings, *, seed: int, index: int = 0, row: int = 0
) -> int:
    """Choose the token after the last one of a watched text, or in its first blank.

    How is recorded under ``choose/``.

    `trace` is of a pass, `row` the text in its batch, `index` the token's place among the new ones.
    Which values there are depends on what the settings do: next_logits, penalized, scaled, highest,
    exponentials, total, softmax, ranks, order, top_k, nucleus_cumulative, nucleus_size, top_p,
    min_p, kept, probs, cumulative, u, drawn_rank, token.
    """
    logits = trace.value_of(trace.node("fwd/logits"))
    ids = trace.value_of(trace.node("token/ids"))
    last = asked_pos(trace, logits.shape[1])
    token = Recorder(trace, kind="choose")(
        "token",
        ops.choose,
        logits,
        ids,
        row=row,
        last=last,
        seed=seed,
        index=index,
        **settings.params(),
    )
    return int(token)
