"""One choice, recorded: every step from the model's scores to the token."""

from __future__ import annotations

from glassformer import ops
from glassformer.generation.sampling import Sampling
from glassformer.trace import Recorder, Trace


def record_choice(
    trace: Trace, sampling: Sampling, *, seed: int, index: int = 0, row: int = 0
) -> int:
    """Choose the token after the last one of a watched text, and record how under ``choose/``.

    `trace` is from ``model.watch(ids)``, `row` the text in its batch, `index` the token's place
    among the new ones. Which steps there are depends on what the settings do: next_logits,
    penalised, scaled, highest, exponentials, total, softmax, ranks, order, top_k,
    nucleus_cumulative, nucleus_size, top_p, min_p, kept, probs, cumulative, u, drawn_rank, token.

    >>> import torch
    >>> from glassformer.model import Config, Decoder
    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
    >>> trace = model.watch(torch.tensor([[1, 2, 3]]))
    >>> token = record_choice(trace, Sampling(temperature=0.7, top_k=5), seed=0)
    >>> trace.explain("choose/probs[vocab=3]").agrees, int(trace["choose/token"]) == token
    (True, True)
    """
    logits = trace.value_of(trace.node("fwd/logits"))
    ids = trace.value_of(trace.node("token/ids"))
    tape = Recorder(trace, kind="choose")
    last = logits.shape[1] - 1
    settings = sampling.params()
    token = tape(
        "token", ops.choose, logits, ids, row=row, last=last, seed=seed, index=index, **settings
    )
    return int(token)
