"""A trace in a notebook: the page itself, in a frame of its own, with the trace inside it."""

from __future__ import annotations

from html import escape
from math import prod
from typing import Any

from glassformer.server.export import VALUE_BYTES, pack, page_html, trace_data
from glassformer.server.page import is_built
from glassformer.show.notebook import trace_html as plain_html
from glassformer.trace import Trace
from glassformer.trace.file import step_table
from glassformer.trace.values_file import ValuesFile

HEIGHT = 760  # pixels


def trace_html(trace: Trace) -> str:
    """The page about a trace; a plain table where the page is missing or the trace is too large."""
    values = ValuesFile(trace)
    one_text = "token/ids" in trace.nodes and trace.step("token/ids").shape[0] == 1
    if not (is_built() and one_text and values.size <= VALUE_BYTES):
        return plain_html(trace)
    table = step_table(trace, values.extents).encode()
    about = _about(trace, values.size)
    data = trace_data([pack(about, table, values.read(0, values.size))])
    html = page_html({**data, "runs": [_run(trace)]})
    # sandboxed: whatever is in the trace can't reach the notebook
    return (
        f'<iframe title="The trace, number by number" srcdoc="{escape(html)}"'
        f' sandbox="allow-scripts allow-downloads" loading="lazy" width="100%" height="{HEIGHT}"'
        ' style="border: 1px solid #8884; border-radius: 10px"></iframe>'
    )


def _about(trace: Trace, nbytes: int) -> dict[str, Any]:
    """TraceAbout of a trace that is all there is to know."""
    ids = trace.value_of(trace.step("token/ids"))[0].tolist()
    words = list(trace.labels.get("pos", map(str, ids)))
    kinds = {step.kind for step in trace.steps}
    return {
        "id": "trace",
        "run": "trace",
        "prompt": " ".join(words),
        "ids": ids,
        "tokens": words,
        "target": None,
        "backward": "bwd" in kinds,
        "optimizer": "opt" in kinds,
        "at_step": None,
        "edits": {},
        "sampling": None,
        "chosen": None,
        "nbytes": nbytes,
        "precision": str(trace.step("logits").dtype).removeprefix("torch."),
    }


def _run(trace: Trace) -> dict[str, Any]:
    """RunInfo as far as a trace tells it."""
    leaves = [step for step in trace.leaves if step.kind == "weight"]
    total = sum(prod(step.shape) for step in leaves)
    logits = trace.step("logits").shape
    return {
        "id": "trace",
        "name": "this trace",
        "parameters": total,
        "steps_done": None,
        "loss": None,
        "kind": "preset",
        "path": None,
        "config": {},
        "n_ctx": logits[1],
        "vocab_size": logits[-1],
        "tied": False,
        "weights": [
            {
                "name": step.name,
                "axes": step.axes,
                "shape": step.shape,
                "parameters": prod(step.shape),
                "share": prod(step.shape) / total,
            }
            for step in leaves
        ],
        "tokenizer": {"kind": "unknown"},
        "snapshots": [],
        "floor": None,
        "suggested_prompt": "",
        "suggested_target": None,
        "recipe": None,
    }
