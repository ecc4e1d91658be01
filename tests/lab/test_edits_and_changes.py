"""Two passes beside each other: what is switched off is off, what is patched is there."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer import ops
from glassformer.errors import GlassformerError
from glassformer.lab.changes import changes, next_token_shifts, watch_text
from glassformer.lab.edits import patched, without_head, without_layer, without_neuron, written
from tests.model.variety import config_of, configs, random_ids, random_model


@pytest.fixture
def model():
    return random_model(config_of("gpt2"), 0)


@pytest.fixture
def ids(model):
    return random_ids(model.config, 0, batch=1)


def test_ablating_a_head_equals_zeroing_its_rows_of_the_output_matrix(model, ids):
    ablated = model.watch(ids, edit=without_head(model.config, layer=1, head=2))
    with torch.no_grad():
        model.weights()["blocks.1.attn.W_O"][2] = 0
    # both add only zeros for this head, in the same order
    assert torch.equal(ablated["logits"], model.watch(ids)["logits"])


def test_ablating_a_neuron_equals_zeroing_its_row_of_the_output_matrix(model, ids):
    ablated = model.watch(ids, edit=without_neuron(model.config, layer=0, neuron=5))
    with torch.no_grad():
        model.weights()["blocks.0.mlp.W_out"][5] = 0
    assert torch.equal(ablated["logits"], model.watch(ids)["logits"])


@pytest.mark.parametrize("kind", ["gpt2", "no norms"])
def test_without_a_layer_the_stream_passes_it_unchanged(kind):
    model = random_model(config_of(kind), 0)
    ids = random_ids(model.config, 0)
    trace = model.watch(ids, edit=without_layer(model.config, 1))
    assert torch.equal(trace["blocks.1.resid_post"], trace["blocks.1.resid_pre"])


@settings(max_examples=6)
@given(configs(), st.integers(0, 99))
def test_patching_a_prompt_with_itself_changes_nothing(config, seed):
    model, ids = random_model(config, seed), random_ids(config, seed, batch=1)
    before = watch_text(model, ids)
    everything = [step.path for step in before.computed if step.name.startswith("blocks.")]
    after = watch_text(model, ids, patched(everything, before))
    assert changes(before, after) == []


@settings(max_examples=6)
@given(configs(), st.integers(0, 99))
def test_patching_the_last_residual_stream_gives_the_other_prompts_prediction(config, seed):
    model = random_model(config, seed)
    ids, others = (random_ids(config, seed + i, batch=1) for i in range(2))
    source = watch_text(model, others)
    edit = patched([f"blocks.{config.n_layers - 1}.resid_post"], source)
    assert torch.equal(watch_text(model, ids, edit)["probs"], source["probs"])


def test_patching_one_position_takes_texts_of_different_lengths(model, ids):
    source = watch_text(model, random_ids(model.config, 3, batch=1, n=3))
    edit = patched(["blocks.0.resid_post[pos=2]"], source)
    after = watch_text(model, ids, edit)
    assert torch.equal(after["blocks.0.resid_post[pos=2]"], source["blocks.0.resid_post[pos=2]"])


def test_patching_another_length_is_refused_with_both_shapes(model, ids):
    source = watch_text(model, random_ids(model.config, 3, batch=1, n=3))
    edit = patched(["blocks.0.resid_post"], source)
    with pytest.raises(GlassformerError, match=r"is \[7, 6\] here and the new value is \[3, 6\]"):
        watch_text(model, ids, edit)


def test_the_table_of_shifts_holds_the_two_traces_own_probabilities(model, ids):
    before = watch_text(model, ids)
    after = watch_text(model, ids, without_head(model.config, 0, 1))
    shifts = next_token_shifts(before, after, n=4)
    p, q = before["probs"][-1], after["probs"][-1]
    assert {int(p.argmax()), int(q.argmax())} <= {shift.token for shift in shifts}
    for shift in shifts:
        assert shift.before == p[shift.token].item()
        assert shift.after == q[shift.token].item()
    sizes = [abs(shift.after - shift.before) for shift in shifts]
    assert sizes == sorted(sizes, reverse=True)


def test_changes_are_the_traces_differences_and_start_at_the_edit(model, ids):
    before = watch_text(model, ids)
    after = watch_text(model, ids, without_head(model.config, 1, 0))
    result = changes(before, after)
    assert result[0].path == "fwd/blocks.1.attn.z"
    assert [change.path for change in result if change.edited] == ["fwd/blocks.1.attn.z"]
    assert not [change for change in result if ".0." in change.path]
    for change in result:
        gap = after[change.path] - before[change.path]
        gap = torch.where(gap.isnan(), 0.0, gap)  # -inf on both sides
        assert change.largest == (after[change.address] - before[change.address]).item()
        assert abs(change.largest) == gap.abs().max().item()
        assert change.numbers == int((gap != 0).sum())
        size = before[change.path].nan_to_num(neginf=0.0).norm()
        # the same sum of squares, in another order
        assert change.relative == pytest.approx((gap.norm() / size).item(), rel=1e-12)


def test_the_loss_of_a_watched_text_is_that_of_its_own_next_tokens(model, ids):
    trace = watch_text(model, ids)
    targets = torch.cat([ids[:, 1:], torch.full((1, 1), ops.IGNORED)], dim=1)
    assert torch.equal(trace["loss"], model.watch(ids, targets)["loss"])
    assert trace.explain("loss").agrees
    assert trace.explain("probs[pos=0,vocab=1]").agrees


def test_one_token_has_a_prediction_and_no_loss(model):
    one = random_ids(model.config, 0, batch=1, n=1)
    before, after = watch_text(model, one), watch_text(model, one, {"resid_start": 0.0})
    assert "fwd/loss" not in before.nodes
    assert len(next_token_shifts(before, after, 3)) >= 3
    assert changes(before, after)[0].path == "fwd/resid_start"


def test_texts_of_different_lengths_are_not_compared(model, ids):
    shorter = watch_text(model, ids[:, :3])
    with pytest.raises(GlassformerError, match="compare texts with as many tokens"):
        changes(watch_text(model, ids), shorter)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda config: without_head(config, 2, 0), "layer 2 is not there; layers go from 0 to 1"),
        (lambda config: without_head(config, 0, 3), "head 3 is not there; heads go from 0 to 2"),
        (lambda config: without_neuron(config, 0, 8), "neurons go from 0 to 7"),
        (lambda config: without_layer(config, -1), "layer -1 is not there"),
        (lambda _: written("blocks.0.attn.z[head=2]"), "is no edit; write ADDRESS=VALUE"),
        (lambda _: written("blocks.0.attn.z=nan"), "is no edit; write ADDRESS=VALUE"),
        (lambda _: written("=1"), "is no edit; write ADDRESS=VALUE"),
        (lambda _: written("blocks 0=1"), "is not an address"),
    ],
)
def test_what_is_not_there_is_refused(call, message):
    with pytest.raises(GlassformerError, match=message):
        call(config_of("gpt2"))


def test_only_values_can_be_patched(model, ids):
    with pytest.raises(GlassformerError, match="is not a value of the forward pass"):
        patched(["weight/embed.W_E"], watch_text(model, ids))


def test_a_value_subtracted_in_parts_has_moved_as_far(model, ids, monkeypatch):
    edit = without_head(model.config, layer=1, head=2)
    before, after = watch_text(model, ids), watch_text(model, ids, edit)
    full = changes(before, after)
    monkeypatch.setattr("glassformer.lab.changes.AT_A_TIME", 5)
    parts = changes(before, after)
    assert [replace(one, relative=0) for one in parts] == [replace(one, relative=0) for one in full]
    # the squares are added in another order
    assert [one.relative for one in parts] == pytest.approx([one.relative for one in full], 1e-12)
