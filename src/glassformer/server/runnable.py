"""A model as a page holds it to run it by itself: plan, weights, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from glassformer.describe import about
from glassformer.generation.sampling import Sampling
from glassformer.lab.logit_lens import record_guesses
from glassformer.model import EncoderDecoder, TowersConfig
from glassformer.model.kinds import AnyModel
from glassformer.ops import IGNORED
from glassformer.server.packing import pack, pack_words
from glassformer.server.record import add_probs
from glassformer.server.schemas import PackedModel, PackedReading
from glassformer.text.marian import MarianTokenizer
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.tokenizer_files import USUAL_MASK
from glassformer.trace import Trace
from glassformer.trace.plan import NoPlanError, Plan, Watch, plan
from glassformer.training.train_state import TrainState
from glassformer.watch.choice import record_choice
from glassformer.watch.update import record_descent

MODEL_BYTES = 8_000_000
"""The largest weights of a model that a page runs, in a browser's one thread."""

SHORTEST = 3
"""Tokens that a model must have room for: a plan is read from texts of two and of three."""


def packed_model(state: TrainState) -> PackedModel | None:
    """What a page runs a model from; None where it can't, so that it shows a recorded trace."""
    if why_recorded(state) is not None:
        return None
    model, tokenizer = state.model, state.tokenizer

    def record(ids: Tensor, **more: Any) -> Trace:
        trace = state.train_step(ids, torch.zeros_like(ids), **more)[0].trace
        add_probs(trace)
        record_guesses(model, trace)
        return trace

    watch = watching(model, record)
    try:
        passes = planned(watch, model)
    except NoPlanError:
        return None
    trace = watch(1, 2)
    stored = [n["address"] for n in passes["nodes"] if n["op"] is None and is_stored(n)]
    return PackedModel(
        plan=packed_text(passes),
        descent=packed_text(descent(model)),
        choices=packed_text({key: choice(watch, how) for key, how in SETTINGS.items()}),
        stored=packed_numbers(trace[address] for address in stored),
        done=state.done,
        lr=state.next_lr,
        tokenizer=tokenizer.content,
        begin=tokenizer.begin_ids,
        ignored=IGNORED,
        reads=reading(state),
    )


def reading(state: TrainState) -> PackedReading | None:
    """What stands around the texts of an encoder, and in place of what it does not see."""
    model, tokenizer = state.model, state.tokenizer
    two = isinstance(model, EncoderDecoder)
    if not two and model.config.causal:
        return None
    return PackedReading(
        after=tokenizer.encode_source("")[len(tokenizer.begin_ids) :],
        mask=None if two else tokenizer.mask_id,
        masks=[] if two else [*USUAL_MASK],
        start=model.config.start_id if two else None,
        end=tokenizer.eos_id,
        source_n_ctx=model.config.encoder.n_ctx if two else None,
    )


def watching(model: AnyModel, record: Callable[..., Trace]) -> Watch:
    """Records passes over texts of nothing but token 0, each length once."""

    @cache
    def watch(batch: int, pos: int, source_pos: int = SHORTEST - 1) -> Trace:
        ids, more = torch.zeros((batch, pos), dtype=torch.int64), {}
        if isinstance(model, EncoderDecoder):
            source = torch.zeros((batch, source_pos), dtype=torch.int64)
            more = {"source": source, "source_mask": torch.ones_like(source)}  # 0 may be padding
        return record(ids, **more)

    return watch


def planned(watch: Watch, model: AnyModel) -> Plan:
    """The plan of a model's passes, which two towers read a source in."""
    return plan(watch, source_pos=SHORTEST - 1 if isinstance(model, EncoderDecoder) else None)


def descent(model: AnyModel) -> Plan:
    """The plan of a step of plain gradient descent at learning rate 1, in place of the optimizer's.

    Its nodes read those of the model's own plan, which stand before them.
    """

    def record(ids: Tensor, **more: Any) -> Trace:
        trace = model.watch(ids, torch.zeros_like(ids), backward=True, **more)
        record_descent(trace, model, 1.0)
        return trace

    update = planned(watching(model, record), model)
    nodes = [node for node in update["nodes"] if node["address"].startswith("opt/")]
    used = sorted({node["formula"] for node in nodes})
    formulas = [update["formulas"][i] for i in used]
    nodes = [{**node, "formula": used.index(node["formula"])} for node in nodes]
    ops = {name: update["ops"][name] for name in sorted({node["op"] for node in nodes})}
    return {**update, "ops": ops, "formulas": formulas, "nodes": nodes}


def why_recorded(state: TrainState) -> str | None:
    """Why a page can't run a model and holds recorded numbers of it; None where it runs it."""
    weights, config = [*state.model.parameters()], state.model.config
    size = sum(w.nbytes for w in weights)
    if size > MODEL_BYTES:
        most = f"a page runs up to {MODEL_BYTES / 1e6:g} MB"
        return f"its weights take {about(size / 1e6, 3)} MB, and {most}"
    if any(w.dtype != torch.float32 for w in weights):
        return "its weights are not all float32"
    towers = [config.encoder, config.decoder] if isinstance(config, TowersConfig) else [config]
    if any(tower.n_ctx < SHORTEST for tower in towers):
        return f"it reads fewer than {SHORTEST} tokens"
    if not can_tokenize(state.tokenizer):
        return f"a page has no tokenizer like its own ({state.tokenizer.kind})"
    return None


def can_tokenize(tokenizer: Tokenizer) -> bool:
    """Whether the page knows every stage of a tokenizer (``web/src/text/tokenizer.ts``)."""
    if isinstance(tokenizer, MarianTokenizer):  # its pieces are SentencePiece's
        return False
    content = tokenizer.content
    model, splitter = content["model"], content["pre_tokenizer"]
    if content["normalizer"] not in (None, {"type": "Lowercase"}):
        return False
    for token in content["added_tokens"]:  # a blank is read where it stands, with no space eaten
        moves = any(token[name] for name in ("single_word", "lstrip", "rstrip"))
        if not token["special"] or (tokenizer.blanks and moves):
            return False
    match splitter:
        case None | {"type": "ByteLevel", "use_regex": True}:
            pass
        case {"type": "Split", "pattern": {"Regex": _}, "behavior": "Removed", "invert": True}:
            pass
        case _:
            return False
    if model["type"] == "WordLevel":
        return True
    names = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "unk_token")
    plain = not any(model.get(name) for name in (*names, "ignore_merges"))
    byte_level = splitter is not None or model.get("byte_fallback")
    return model["type"] == "BPE" and plain and bool(byte_level)


def is_stored(node: dict[str, Any]) -> bool:
    """Whether the numbers of a leaf are the same for every text."""
    return all(isinstance(size, int) for size in node["shape"])


def _settings() -> dict[str, Sampling]:
    result = {}
    for greedy, penalty, temperature, top_k, top_p, min_p in product((True, False), repeat=6):
        sampling = Sampling(
            temperature=0 if greedy else 0.5 if temperature else 1,
            repetition_penalty=2 if penalty else 1,
            top_k=2 if top_k else None,
            top_p=0.5 if top_p else None,
            min_p=0.5 if min_p else None,
        )
        result[settings_key(sampling)] = sampling
    return result


def settings_key(sampling: Sampling) -> str:
    """Which settings do something, on which it depends what nodes a choice has."""
    greedy = sampling.temperature == 0
    does = {
        "greedy": greedy,
        "penalty": sampling.repetition_penalty != 1,
        "temperature": not greedy and sampling.temperature != 1,
        "top_k": not greedy and sampling.top_k is not None,
        "top_p": not greedy and sampling.top_p is not None,
        "min_p": not greedy and sampling.min_p is not None,
    }
    return " ".join(name for name, on in does.items() if on)


SETTINGS = _settings()
"""Settings of every kind that a choice has nodes of its own for."""


def choice(watch: Watch, sampling: Sampling) -> Plan:
    """The plan of a choice of the next token, from the logits and the text."""

    def chosen(batch: int, pos: int) -> Trace:
        trace, watched = Trace(), watch(batch, pos)
        for path in ("token/ids", "fwd/logits"):
            trace.add(watched.nodes[path])
        record_choice(trace, sampling, seed=0)
        return trace

    return plan(chosen)


def packed_text(content: Any) -> str:
    """JSON, compressed, as text."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return pack(text.encode())


def packed_numbers(tensors: Iterable[Tensor]) -> str:
    """float32 numbers, compressed, as text."""
    flat = torch.cat([tensor.detach().cpu().reshape(-1).float() for tensor in tensors])
    return pack_words(flat.view(torch.int32).numpy().view("uint32"))
