"""A trace keeps what was asked for and knows what each value was for."""

import gc
from concurrent.futures import ThreadPoolExecutor
from weakref import ref

import pytest
import torch

from glassformer import GlassformerError
from glassformer.rendering import RENDERERS
from glassformer.trace import Trace
from glassformer.trace.cancel import Cancelled
from tests.model.variety import VARIETY, config_of, random_ids, random_model, random_targets


def watched(keep: str | list[str] = "*"):
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1)
    return model.watch(ids, random_targets(config, 1, ids), keep=keep)


def test_steps_come_in_the_order_of_computation():
    names = [node.name for node in watched().computed]
    assert names[:4] == ["embed", "pos_embed", "resid_start", "blocks.0.resid_pre"]
    assert names[-7:] == [
        *("logits_max", "logits_exp", "logits_sum"),
        *("log_partition", "target_logit", "token_loss", "loss"),
    ]
    order = {node.path: i for i, node in enumerate(watched().computed)}
    for node in watched().computed:
        for path in node.operands.values():
            assert order.get(path, -1) < order[node.path]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("logits", {"logits"}),
        ("logits, loss", {"logits", "loss"}),
        (["loss"], {"loss"}),
        ("*.attn.pattern", {"blocks.0.attn.pattern", "blocks.1.attn.pattern"}),
        ("blocks.1.resid_*", {f"blocks.1.resid_{at}" for at in ("pre", "mid", "post")}),
        ([], set()),
    ],
)
def test_only_what_keep_names_is_kept(keep, kept):
    trace, full = watched(keep), watched()
    assert {node.name for node in trace.computed if node.value is not None} == kept
    assert [s.path for s in trace.computed] == [s.path for s in full.computed]
    for name in kept:
        assert torch.equal(trace[name], full[name])
    assert trace.nbytes == sum(full.node(name).nbytes for name in kept)
    for node in trace.computed:  # what is not kept still tells its shape
        assert (node.shape, node.axes) == (full.nodes[node.path].shape, node.axes)


@pytest.mark.parametrize("name", VARIETY)
def test_steps_written_when_someone_looks_are_those_written_during_the_pass(name):
    config = config_of(name)
    model, ids = random_model(config, 1), random_ids(config, 1)
    targets = random_targets(config, 1, ids)
    late = model.watch(ids, targets)
    during = model.watch(ids, targets, keep="?*")  # all of them, but by a pattern
    assert late.nbytes == during.nbytes
    assert list(late.nodes) == list(during.nodes)
    for path, node in during.nodes.items():
        other = late.nodes[path]
        assert torch.equal(late.value_of(other), during.value_of(node)), path
        for part in ("op", "formula", "operands", "params", "axes", "shape", "dtype", "edited"):
            assert getattr(other, part) == getattr(node, part), (path, part)


def test_weights_changed_before_anyone_looked_are_noticed():
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1)
    before = model.embed.W_E.detach().clone()
    trace, other = model.watch(ids), model.watch(ids)
    model.embed.W_E.data = torch.zeros_like(before)  # other memory: the trace keeps the old
    assert torch.equal(trace["weight/embed.W_E"], before)
    model.load_views({name: w + 1 for name, w in model.weights().items()})
    with pytest.raises(GlassformerError, match=r"b_O was changed after this trace was recorded"):
        other["weight/blocks.0.attn.b_O"]


def test_a_trace_over_its_budget_is_refused_though_nobody_looks():
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1)
    full = model.watch(ids).nbytes
    assert model.watch(ids, budget_bytes=full).nbytes == full
    with pytest.raises(GlassformerError, match="more than its budget"):
        model.watch(ids, budget_bytes=full - 1)


def test_threads_that_look_at_once_see_one_table():
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1)
    for _ in range(20):
        trace = model.watch(ids)
        with ThreadPoolExecutor(4) as threads:
            tables = list(threads.map(lambda _, t=trace: len(t.computed), range(4)))
        assert len(set(tables)) == 1


def test_a_tied_unembedding_takes_no_memory_of_its_own():
    config = config_of("gpt2")
    assert config.tied
    trace = random_model(config, 1).watch(random_ids(config, 1))
    computed = [node for node in trace.computed if node.op != "tie"]
    assert trace.nbytes == sum(node.nbytes for node in computed)
    assert len(computed) == len(trace.computed) - 1


def test_a_value_that_was_not_kept_says_how_to_keep_it():
    trace = watched("logits")
    with pytest.raises(GlassformerError, match=r"was not kept; watch again with keep='\*'"):
        trace["blocks.0.attn.q"]
    with pytest.raises(GlassformerError, match=r"the value of fwd/\S+ was not kept"):
        trace.explain("logits[batch=0,pos=0,vocab=0]")


def test_weights_and_tokens_are_leaves_whatever_is_kept():
    trace = watched("loss")
    kinds = {leaf.kind for leaf in trace.leaves}
    assert kinds == {"weight", "token", "const"}
    assert trace["weight/blocks.0.attn.W_Q"].shape == (3, 6, 2)
    assert trace["token/ids"].shape == (2, 7)


def test_recorded_values_have_the_declared_axes_and_dtype():
    trace = watched()
    for node in trace.nodes.values():
        value = trace.value_of(node)
        assert tuple(value.shape) == node.shape
        assert len(node.axes) == value.ndim
        assert value.dtype == node.dtype
        assert not value.requires_grad


def test_equal_axes_have_equal_lengths():
    # pos of the position table is its own length; elsewhere one word means one length
    lengths: dict[str, int] = {}
    for node in watched().computed:
        for axis, n in zip(node.axes, node.shape, strict=True):
            assert lengths.setdefault(axis, n) == n, (node.path, axis)


def test_every_value_but_the_last_is_consumed():
    trace = watched()
    unread = [node.name for node in trace.computed if not trace.consumers(node.path)]
    assert unread == ["loss"]


def test_attention_weights_sum_to_one_and_ignore_the_future():
    trace = watched()
    pattern = trace["blocks.1.attn.pattern"]
    # seven float64 numbers below 1
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 3, 7).double(), rtol=0, atol=1e-15)
    assert (pattern.triu(1) == 0).all()
    assert (trace["blocks.1.attn.attn_scores"].isinf() == torch.ones(7, 7).triu(1).bool()).all()


def test_a_notebook_view_is_found_by_name(monkeypatch):
    trace = watched("loss")
    monkeypatch.setitem(RENDERERS, "Trace", lambda: repr)
    assert trace._repr_html_() == repr(trace)
    monkeypatch.delitem(RENDERERS, "Trace")
    assert (
        trace._repr_html_() == f"<pre>&lt;Trace of {len(trace.computed)} values, 8 bytes&gt;</pre>"
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_trace_reports_how_far_its_steps_are_from_the_fused_kernels(dtype):
    config = config_of("gpt2")
    model, ids = random_model(config, 1, dtype), random_ids(config, 1)
    trace = model.watch(ids)
    gap = trace.fused_gap()
    assert gap == (model(ids) - trace["logits"]).abs().max().item()
    # two layers of some hundred roundings of numbers up to 8
    assert gap < 8 * 300 * torch.finfo(dtype).eps


def test_a_trace_that_cannot_be_run_again_has_no_gap_to_report(tmp_path):
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1)
    trace = model.watch(ids)
    edited = model.watch(ids, edit={"blocks.0.attn.pattern[head=0]": 0.0})
    dropped = random_model(config.replace(dropout=0.5), 1).train().watch(ids)
    for without in (Trace.load(trace.save(tmp_path / "saved")), edited, dropped):
        with pytest.raises(GlassformerError, match="cannot be run again as it was"):
            without.fused_gap()
    with pytest.raises(GlassformerError, match=r"fwd/logits was not kept"):
        model.watch(ids, keep="probs").fused_gap()
    with torch.no_grad():
        model.weights()["embed.W_E"].add_(1.0)
    with pytest.raises(GlassformerError, match=r"was changed after this trace was recorded"):
        trace.fused_gap()


def test_a_recording_ends_once_it_is_cancelled():
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1)
    # asked again after it said yes, it would raise another error
    answers = iter([False] * 40 + [True])
    with pytest.raises(Cancelled, match="nobody waits"):
        model.watch(ids, is_cancelled=lambda: next(answers))


@pytest.mark.parametrize("look", [False, True], ids=["never looked at", "looked at"])
def test_a_trace_that_is_let_go_is_freed_at_once(look):
    trace = watched()
    if look:
        assert trace.nodes
    gone = ref(trace)
    gc.disable()
    try:
        del trace
        assert gone() is None, "a cycle keeps its values until the garbage collector comes"
    finally:
        gc.enable()
