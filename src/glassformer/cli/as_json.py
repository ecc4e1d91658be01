"""What a command found, as data for programs: the shapes behind `--json`.

A command prints one JSON object, `train` one a line; see `say_json` for how numbers are written.
A token is {"id", "token"}, a number of a pass {"address", "value"}.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from glassformer.lab.changes import word_of
from glassformer.lab.experiments import Comparison
from glassformer.lab.logit_lens import Glimpse
from glassformer.trace import Trace
from glassformer.trace.explain import Explanation, explain
from glassformer.trace.predicted import asked_pos

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

BEST = 10  # tokens of a prediction


def token_data(trace: Trace, token: int) -> dict[str, Any]:
    return {"id": token, "token": word_of(trace, token)}


def tokens_data(trace: Trace) -> list[dict[str, Any]]:
    """The tokens of a trace's first text."""
    ids = trace.value_of(trace.node("token/ids"))[0].tolist()
    return [token_data(trace, token) for token in ids]


def prediction_data(trace: Trace) -> list[dict[str, Any]]:
    """The most probable next tokens of the first text, or in its blank, the best first."""
    each = trace.value_of(trace.node("fwd/probs"))[0]
    probs = each[asked_pos(trace, len(each))].double()
    order = probs.argsort(descending=True, stable=True)[:BEST].tolist()
    return [{**token_data(trace, token), "prob": probs[token].item()} for token in order]


def explanation_data(explanation: Explanation, follow: int = 0) -> dict[str, Any]:
    """Everything that an explanation says; operands are explained too, `follow` levels deep."""
    operands: list[dict[str, Any]] = [asdict(operand) for operand in explanation.operands]
    if follow:
        for operand in operands:
            deeper = explain(explanation.trace, operand["address"])
            if deeper.operands:
                operand["explanation"] = explanation_data(deeper, follow - 1)
    return {
        "address": explanation.address,
        "value": explanation.value,
        "op": explanation.node.op,
        "summary": explanation.summary,
        "source": explanation.source,
        "formula": explanation.formula,
        "latex": explanation.latex,
        "arithmetic": explanation.arithmetic,
        "operands": operands,
        "recomputed": explanation.recomputed,
        "error": explanation.error,
        "bound": explanation.bound,
        "agrees": explanation.agrees,
        "flags": explanation.flags,
        "finite_difference": None
        if explanation.difference is None
        else asdict(explanation.difference),
    }


def trace_data(trace: Trace, values: frozenset[str]) -> dict[str, Any]:
    """The values of a trace in their order; those whose path is in `values` with all numbers."""
    nodes = []
    for node in trace.computed:
        data: dict[str, Any] = {
            "address": node.path,
            "op": node.op,
            "axes": node.axes,
            "shape": node.shape,
            "dtype": str(node.dtype).removeprefix("torch."),
            "operands": node.operands,
        }
        if node.path in values:
            data["values"] = trace.value_of(node).tolist()
        nodes.append(data)
    return {"tokens": tokens_data(trace), "nodes": nodes, "prediction": prediction_data(trace)}


def comparison_data(comparison: Comparison, n: int, target: int | None) -> dict[str, Any]:
    """Both passes beside each other: the n next tokens that moved most, and every changed value."""
    edits = []
    for address in comparison.edit:
        was, now = comparison.before[address], comparison.after[address]
        edits.append({"address": address, "before": was.tolist(), "after": now.tolist()})
    data: dict[str, Any] = {
        "tokens": tokens_data(comparison.before),
        "edits": edits,
        "next_tokens": [
            {"id": s.token, "token": s.word, "before": s.before, "after": s.after}
            for s in comparison.next_tokens(n)
        ],
        "loss": None if comparison.loss is None else _pair(comparison.loss),
        "changes": [asdict(change) for change in comparison.changes()],
    }
    if target is not None:
        data["target"] = {
            **token_data(comparison.before, target),
            "surprise": _pair(comparison.surprise(target)),
        }
    return data


def lens_data(trace: Trace, glimpses: list[Glimpse]) -> dict[str, Any]:
    """The best guesses of every point of the stream after every token."""
    points = []
    for glimpse in glimpses:
        after = [
            [{"id": g.token, "token": g.word, "prob": g.prob} for g in glimpse.best(pos)]
            for pos in range(len(glimpse.probs))
        ]
        points.append({"point": glimpse.point, "address": glimpse.address, "best": after})
    return {"tokens": tokens_data(trace), "points": points}


def _pair(nats: tuple[float, float]) -> dict[str, float]:
    return {"before": nats[0], "after": nats[1]}
