"""A trace or a run in a notebook: the page itself, in a frame of its own, with its data inside."""

from __future__ import annotations

from math import prod

from glassformer.errors import GlassformerError
from glassformer.server import schemas
from glassformer.server.export import made, pack, page_data, page_html
from glassformer.server.page import is_built
from glassformer.server.record import add_probs
from glassformer.server.runs import Runs
from glassformer.server.traces import precision_of
from glassformer.show.notebook import OUTPUT_BYTES
from glassformer.show.notebook import run_html as plain_run
from glassformer.show.notebook import trace_html as plain_html
from glassformer.text.load import load_tokenizer
from glassformer.trace import Trace
from glassformer.trace.file import node_table
from glassformer.trace.values_file import ValuesFile
from glassformer.training.examples import examples
from glassformer.training.run import DATA, PastRun

VALUE_BYTES = 4_000_000
"""A run whose page would hold more is shown without it: a notebook's file carries every output."""

HEIGHT = 760  # pixels


class TracePage:
    """The page about one trace, whole, whatever its size: it shows itself in a notebook."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __repr__(self) -> str:
        return f"<Page about {self._trace!r}>"

    def _repr_html_(self) -> str:
        return _live_html(self._trace) or plain_html(self._trace)


def page(trace: Trace) -> TracePage:
    """The page about a trace, with every number it holds, for a notebook.

    A trace shows itself in at most 300 KB, which the page takes of a small model alone. The page
    takes about 230 KB, and 1.1 bytes for each byte of the trace's values and weights.

    >>> import glassformer as gf
    >>> gf.page(gf.watch("worked_example", "the cat"))
    <Page about <Trace of 186 values, 7,524 bytes>>
    """
    if not isinstance(trace, Trace):
        raise GlassformerError(
            f"a page is about a trace, not about {type(trace).__name__}; give what"
            " model.watch(text) returns"
        )
    return TracePage(trace)


def trace_html(trace: Trace) -> str:
    """The page about a trace; where it would be missing or too large, tables and pictures of it."""
    live = _live_html(trace)
    if live is None:
        return plain_html(trace)
    size = len(live.encode())
    if size <= OUTPUT_BYTES:
        return live
    return plain_html(
        trace,
        f" What is left out, weights too, is in the page about this trace, every number a click"
        f" away: glassformer.page(trace), which adds {size / 1e6:.1f} MB to the notebook.",
    )


def _live_html(trace: Trace) -> str | None:
    """The page about a trace in a frame; None where the page is missing, or what it reads."""
    one_text = "token/ids" in trace.nodes and trace.node("token/ids").shape[0] == 1
    shown = _with_probs(trace) if is_built() and one_text else None
    if shown is None:
        return None
    values = ValuesFile(shown)
    table = node_table(shown, values.extents).encode()
    about = _about(shown, values.size)
    packed = pack(about, table, values.read(0, values.size))
    first = schemas.Opening(
        run=about.run, prompt=about.prompt, target=about.target, at_step=about.at_step
    )
    data = schemas.PageData(runs=[_run(shown)], traces=[packed], first=first, made=made())
    return _frame("The trace, number by number", data)


def run_html(run: PastRun) -> str:
    """A run's loss and what it wrote; beneath, where it is small, the page about it."""
    parts = plain_run(run.folder.name, run.rows, run.description.recipe.steps)
    if not is_built():
        return parts
    try:
        runs = Runs([str(run.folder)])
        tokenizer = load_tokenizer(run.folder)
        prompt, target = examples(tokenizer, run.description.model.n_ctx, run.folder / DATA)[0]
        data = page_data(
            runs, prompt, target=target, value_bytes=VALUE_BYTES, snapshot_bytes=VALUE_BYTES // 2
        )
    except GlassformerError:  # too large for a page, or not a model yet
        return parts
    models = data.models.values()
    packed = [trace.values for trace in data.traces] + [model.stored for model in models]
    past = [model.snapshots for model in models if model.snapshots]
    packed += [weights for snapshots in past for weights in snapshots.steps.values()]
    if sum(map(len, packed)) > 2 * VALUE_BYTES:
        return parts
    return parts + _frame("The run, number by number", data)


def _frame(title: str, data: schemas.PageData) -> str:
    # between single quotes, since data is full of double ones, each of which would take six letters
    html = page_html(data, with_font=False).replace("&", "&amp;").replace("'", "&#39;")
    # sandboxed: whatever is in the trace can't reach the notebook
    return (
        f"<iframe title=\"{title}\" srcdoc='{html}'"
        f' sandbox="allow-scripts allow-downloads" loading="lazy" width="100%" height="{HEIGHT}"'
        ' style="border: 1px solid #8884; border-radius: 10px"></iframe>'
    )


def _with_probs(trace: Trace) -> Trace | None:
    """The trace with the kept ``fwd/probs`` that the page reads, its own or a copy's; or None.

    A trace that goes on to the loss has the two parts of the quotient instead.
    """
    nodes = trace.nodes
    if "fwd/probs" in nodes:
        return trace if nodes["fwd/probs"].value is not None else None
    parts = (nodes.get("fwd/logits_exp"), nodes.get("fwd/logits_sum"))
    if any(part is None or part.value is None for part in parts):
        return None
    longer = Trace()  # the user's own stays as it is
    for node in nodes.values():
        longer.add(node)
    longer.labels = trace.labels
    add_probs(longer)
    return longer


def _about(trace: Trace, nbytes: int) -> schemas.TraceAbout:
    """What a trace alone tells of where it came from."""
    ids = trace.value_of(trace.node("token/ids"))[0].tolist()
    words = list(trace.labels.get("pos", map(str, ids)))
    # tokens of parts of words carry their own spaces
    bare = not any(" " in word for word in trace.labels.get("vocab", words))
    kinds = {node.kind for node in trace.computed}
    return schemas.TraceAbout(
        id="trace",
        run="trace",
        prompt=(" " if bare else "").join(words),
        added=[],
        ids=ids,
        tokens=words,
        target=None,
        backward="bwd" in kinds,
        optimizer="opt" in kinds,
        at_step=None,
        edits={},
        sampling=None,
        chosen=None,
        nbytes=nbytes,
        precision=precision_of(trace),
    )


def _run(trace: Trace) -> schemas.RunInfo:
    """What a trace alone tells of its model."""
    leaves = [node for node in trace.leaves if node.kind == "weight"]
    total = sum(prod(node.shape) for node in leaves)
    logits = trace.node("logits").shape
    return schemas.RunInfo(
        id="trace",
        name="this trace",
        parameters=total,
        steps_done=None,
        steps_left=None,
        loss=None,
        kind="preset",
        path=None,
        config={},
        n_ctx=logits[1],
        vocab_size=logits[-1],
        tied=False,
        weights=[
            schemas.Weight(
                name=node.name,
                axes=list(node.axes),
                shape=list(node.shape),
                parameters=prod(node.shape),
                share=prod(node.shape) / total,
            )
            for node in leaves
        ],
        tokenizer=schemas.TokenizerInfo(kind="unknown"),
        snapshots=[],
        floor=None,
        suggested_prompt="",
        suggested_target=None,
        examples=[],
        recipe=None,
        sampling=schemas.FolderSampling(),
    )
