"""One prompt, recorded for the page: forward, backward, one update and the next token, as asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer import ops
from glassformer.describe import about
from glassformer.generation.prompt import check_prompt
from glassformer.interop.open import name_of
from glassformer.lab.logit_lens import guesses_bytes, record_guesses
from glassformer.model import Config, EncoderDecoder, TowersConfig
from glassformer.model.kinds import AnyModel, kind_of
from glassformer.model.texts import next_tokens
from glassformer.ops import softmax
from glassformer.server.errors import ApiError
from glassformer.server.schemas import SamplingOptions, TraceOptions
from glassformer.trace import Recorder, Trace
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.trace.graph import OverBudgetError
from glassformer.training.train_state import TrainState, blank_targets, open_train_state, token_of
from glassformer.training.translation import translated
from glassformer.watch.choice import record_choice
from glassformer.watch.one_pass import estimated_bytes

LIGHT_BYTES = 300_000_000
"""Backward and optimizer are recorded unasked while the values stay below this."""

BUDGET_BYTES = 1_000_000_000
"""The largest trace there may be."""

LENS_PART = 24
"""The logit lens is recorded unasked while it takes at most this part of the light bytes."""

OPTIMIZER_VALUES = 9  # per weight: m and v before and after, g, decayed, denominator, change, new

GREEDY = SamplingOptions(temperature=0)


@dataclass(frozen=True)
class TraceResult:
    """A trace and what it holds; `target` and `chosen` are token ids."""

    trace: Trace
    ids: list[int]
    target: int | None
    backward: bool
    optimizer: bool
    chosen: int


def watch(
    run: str | Path,
    prompt: str,
    *,
    target: str | None = None,
    at_step: int | None = None,
    edits: Mapping[str, float | Tensor] | None = None,
) -> Trace:
    """Everything that a model does with a prompt, in one trace, as the page shows it.

    Forward pass, gradients, one update of the optimizer and the choice of the next token; of a
    large model the forward pass and the choice alone. `run`: a run's or model's folder, a preset;
    `target`: a word asked for after the last token; `at_step`: the run as it was then; `edits`:
    address to new value.

    >>> trace = watch("miniature", "the cat sat on a", target="mat")
    >>> round(trace["fwd/loss"].item(), 4), trace.explain("opt/unembed.b_U[vocab=4]").agrees
    (2.0792, True)
    """
    # not checked against the API's limits: what the model can take is the limit here
    options = TraceOptions.model_construct(prompt=prompt, target=target)
    return record(open_train_state(str(name_of(run)), at_step), options, edits).trace


def record(
    state: TrainState,
    options: TraceOptions,
    edits: Mapping[str, float | Tensor] | None = None,
    is_cancelled: CancelCheck = never_cancelled,
    light_bytes: int = LIGHT_BYTES,
) -> TraceResult:
    """Record a prompt; `is_cancelled`: see `Decoder.watch`.

    `edits`: address to new value. `light_bytes`: what is left open in the options is recorded
    while the values take no more.

    Errors: a prompt that does not fit the model, a trace beyond BUDGET_BYTES (with its size).
    """
    _check_added(state, options)
    if options.float64:
        state = in_float64(state)
    target = None if options.target is None else token_of(state.tokenizer, options.target)
    more: dict[str, Any] = {}
    targets: Tensor | None
    if isinstance(state.model, EncoderDecoder):
        read, targets, more["source"] = translated(
            state.model, state.tokenizer, options.prompt, target, options.written
        )
        ids: list[int] = read[0].tolist()
        targets = None if bool((targets == ops.IGNORED).all()) else targets
    else:
        ids = [*state.tokenizer.encode_prompt(options.prompt), *options.added]
        check_prompt(state.model, ids)
        if state.model.config.causal:
            targets = targets_of(torch.tensor([ids]), target)
        else:  # what its blank hides, if it is said
            targets = None
            if options.target is not None:
                targets = blank_targets(torch.tensor([ids]), state.tokenizer, options.target)
    tokens = torch.tensor([ids])
    backward, optimizer, lens = _scope(
        state.model, tokens, targets, options, bool(edits), light_bytes, more
    )
    if optimizer and targets is not None:
        trace = state.train_step(tokens, targets, is_cancelled, **more)[0].trace
    else:
        trace = state.model.watch(
            tokens,
            targets,
            backward=backward,
            edit=dict(edits or {}),
            budget_bytes=BUDGET_BYTES,
            is_cancelled=is_cancelled,
            **more,
        )
    add_probs(trace)
    if lens:
        record_guesses(state.model, trace)
    how = options.sampling or GREEDY
    chosen = record_choice(trace, how.settings, seed=how.seed, index=how.index)
    return TraceResult(trace, ids, target, backward, optimizer, chosen)


def _check_added(state: TrainState, options: TraceOptions) -> None:
    """Refuse tokens that there are not, or that this kind of model does not go on with."""
    is_towers, written = isinstance(state.model, EncoderDecoder), options.written
    if (options.added and is_towers) or (written is not None and not is_towers):
        raise ApiError(
            "invalid",
            "a translation goes on with `written`, the target so far, and any other text with"
            " `added`; give the one that fits this model",
        )
    last = max((int(token) for token in (*options.added, *(written or ()))), default=0)
    if last >= state.tokenizer.vocab_size:
        raise ApiError(
            "invalid",
            f"there is no token {last} to add; ids are 0 to {state.tokenizer.vocab_size - 1}",
        )


def targets_of(ids: Tensor, target: int | None) -> Tensor | None:
    """What is asked after each token [1, pos]: the text's own next token, and `target` at the end.

    None where nothing is asked: one token without a target.

    >>> targets_of(torch.tensor([[5, 6, 7]]), 8)
    tensor([[6, 7, 8]])
    >>> targets_of(torch.tensor([[5, 6, 7]]), None).tolist() == [[6, 7, ops.IGNORED]]
    True
    """
    if ids.shape[1] == 1 and target is None:
        return None
    return next_tokens(ids, ops.IGNORED if target is None else target)


def add_probs(trace: Trace) -> None:
    """Record ``fwd/probs`` of a trace that went on to the loss without it."""
    if "fwd/probs" not in trace.nodes:
        exponentials, total = (
            trace.value_of(trace.node(f"fwd/{name}")) for name in ("logits_exp", "logits_sum")
        )
        Recorder(trace)("probs", softmax.over_vocabulary.share, exponentials, total)


def in_float64(state: TrainState) -> TrainState:
    """The same state, computing in float64."""
    # a float32 number is a float64 number: nothing is rounded
    copy = kind_of(state.model.config).unfilled(state.model.config, torch.float64)
    copy.tokenizer = state.tokenizer
    copy.load_state_dict(state.model.state_dict())
    moments = {name: moment.double() for name, moment in state.moments.items()}
    return replace(state, model=copy.eval(), moments=moments)


def _scope(
    model: AnyModel,
    ids: Tensor,
    targets: Tensor | None,
    options: TraceOptions,
    is_edited: bool,
    light_bytes: int,
    more: Mapping[str, Any],
) -> tuple[bool, bool, bool]:
    """Whether to record gradients, optimizer's step and lens; refuses what is too large."""
    can_learn = targets is not None
    if (options.backward or options.optimizer) and not can_learn:
        raise ApiError(
            "invalid",
            f"{options.prompt!r} is one token, so it has no next token to learn from; give a longer"
            " text or a target",
        )
    weights = sum(p.nbytes for p in model.parameters())
    forward = forward_bytes(model, ids, more)
    learning = 2 * forward + weights
    updating = learning + OPTIMIZER_VALUES * weights
    backward = can_learn and _is_recorded(options.backward, learning, light_bytes)
    optimizer = (
        backward and not is_edited and _is_recorded(options.optimizer, updating, light_bytes)
    )
    size = updating if optimizer else learning if backward else forward
    reading = guesses_bytes(model.config, ids.shape[1], next(model.parameters()).itemsize)
    lens = _is_recorded(options.lens, LENS_PART * reading, light_bytes)
    size += reading if lens else 0
    if size > BUDGET_BYTES:
        raise OverBudgetError(
            f"this trace would hold about {about(size / 1e9, 3)} GB of values and the server keeps"
            f" at most {BUDGET_BYTES / 1e9:.3g}; shorten the text"
            + (" or leave out backward and optimizer" if backward else "")
            + (" or leave out the lens" if lens else "")
        )
    return backward, optimizer, lens


def forward_bytes(model: AnyModel, ids: Tensor, more: Mapping[str, Any]) -> int:
    """Bytes that the forward pass of a text would hold; `more`: what is read beside it."""
    extra = model.read_extra_inputs(ids, **more)
    beside = tuple((name, tensor.shape, tensor.dtype) for name, tensor in extra.items())
    return _forward_bytes(model.config, model.dtype, ids.shape, beside)


@lru_cache(maxsize=1024)  # to know it takes a pass on the meta device: half as long as the pass
def _forward_bytes(
    config: Config | TowersConfig,
    dtype: torch.dtype,
    shape: torch.Size,
    beside: tuple[tuple[str, torch.Size, torch.dtype], ...],
) -> int:
    model = kind_of(config).unfilled(config, dtype, "meta").eval()
    ids = torch.empty(shape, dtype=torch.int64, device="meta")
    extra = {name: torch.empty(size, dtype=kind, device="meta") for name, size, kind in beside}
    return estimated_bytes(model, ids, extra=extra)


def _is_recorded(choice: bool | None, size: int, light_bytes: int) -> bool:
    return size <= light_bytes if choice is None else choice
