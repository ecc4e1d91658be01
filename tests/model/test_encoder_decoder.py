"""An encoder-decoder: what a logit depends on, and that every number of it explains itself."""

import random

import pytest
import torch

import glassformer as gf
from glassformer import GlassformerError
from glassformer.model.size import parameter_count
from glassformer.training.recipe import Recipe
from tests.model.towers import PAD, TOWERS, random_pair, random_towers, towers_of
from tests.trace.test_completeness import Watcher
from tests.trace.test_explain import check_every_step, some_address

EACH = pytest.mark.parametrize("name", TOWERS)
# float64: other lengths, and a pattern with zeros in it, may be summed in another order
ROUNDING = {"rtol": 0, "atol": 1e-11}


@EACH
def test_future_target_tokens_never_change_a_logit(name):
    model = random_towers(name)
    ids, _, source = random_pair()
    changed = ids.clone()
    changed[:, 2:] = (changed[:, 2:] + 1) % PAD
    before, after = model(ids, source=source), model(changed, source=source)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.isclose(before[:, 2:], after[:, 2:]).all(-1).any()


@EACH
def test_padded_source_tokens_never_change_a_logit(name):
    model = random_towers(name)
    ids, _, source = random_pair()
    together = model(ids, source=source)
    alone = model(ids[1:], source=source[1:, :3])
    torch.testing.assert_close(together[1:], alone, **ROUNDING)
    garbage = source.clone()
    garbage[1, 3:] = torch.tensor([4, 7])
    one = model(ids, source=garbage, source_mask=source != PAD)
    assert torch.equal(one, together)


@EACH
def test_every_source_token_changes_every_logit_of_its_own_text(name):
    model = random_towers(name)
    ids, _, source = random_pair()
    before = model(ids, source=source)
    for pos in range(3):
        changed = source.clone()
        changed[1, pos] = (changed[1, pos] + 1) % PAD
        after = model(ids, source=changed)
        assert not torch.isclose(before[1], after[1], rtol=1e-9, atol=0).all(-1).any()
        assert torch.equal(before[0], after[0])


@EACH
@pytest.mark.parametrize("with_targets", [False, True], ids=["probs", "loss"])
def test_every_computed_number_belongs_to_a_node(name, with_targets):
    model = random_towers(name, dtype=torch.float32)
    ids, targets, source = random_pair()
    with Watcher() as watcher:
        trace = model.watch(ids, targets if with_targets else None, source=source)
    assert len(watcher.made) >= len(trace.computed) // 2
    assert watcher.unexplained(trace) == []


@EACH
def test_what_is_watched_is_what_the_silent_model_computes(name):
    model = random_towers(name)
    ids, targets, source = random_pair()
    trace = model.watch(ids, source=source)
    torch.testing.assert_close(trace["logits"], model(ids, source=source), **ROUNDING)
    assert trace.fused_gap() < 1e-11
    loss = model.watch(ids, targets, source=source)["loss"]
    torch.testing.assert_close(loss, model.loss(ids, targets, source=source), **ROUNDING)


@EACH
def test_every_number_and_every_gradient_explains_itself(name):
    model = random_towers(name, dtype=torch.float32)
    ids, targets, source = random_pair()
    trace = model.watch(ids, targets, source=source, backward=True)
    check_every_step(trace, random.Random(0), elements=1)


@pytest.mark.parametrize(("name", "optimizer"), [("like marian", "adamw"), ("apart", "muon")])
def test_updates_of_both_towers_explain_themselves(name, optimizer):
    model = random_towers(name, dtype=torch.float32)
    ids, targets, source = random_pair()
    recipe = Recipe(optimizer=optimizer)
    trace = gf.watch_step(model, ids, targets, source=source, recipe=recipe).trace
    rng = random.Random(0)
    for tower in ("encoder", "decoder"):
        updates = [n for n in trace.computed if n.path.startswith(f"opt/{tower}.")]
        assert {view.name for view in model.views()} <= {n.name for n in trace.computed}
        for node in rng.sample(updates, 40):
            explanation = trace.explain(some_address(node, rng))
            assert explanation.agrees, f"{explanation}"


@EACH
def test_a_gradient_in_the_encoder_is_the_slope_of_the_targets_loss(name):
    model = random_towers(name)
    ids, targets, source = random_pair()
    trace = model.watch(ids, targets, source=source, backward=True)
    rng = random.Random(2)
    for name_of_value in ("encoder.embed", "encoder.blocks.0.attn.v", "encoder.blocks.0.attn.W_Q"):
        gradient = some_address(trace.node(f"bwd/{name_of_value}"), rng)
        explanation = trace.explain(gradient, check=True)
        assert explanation.agrees, f"{explanation}"
        assert explanation.difference is not None
        gap = abs(explanation.value - explanation.difference.value)
        assert gap <= max(1e-6 * abs(explanation.value), explanation.difference.error)


@EACH
def test_recorded_gradients_of_all_weights_are_those_of_a_plain_backward_pass(name):
    model = random_towers(name)
    ids, targets, source = random_pair()
    trace = model.watch(ids, targets, source=source, backward=True)
    model.loss(ids, targets, source=source).backward()
    for weight_name, parameter in model.named_parameters():
        assert parameter.grad is not None, weight_name
        recorded = trace.parameter_gradients[weight_name]
        # the fused kernels add in another order, and a norm over few numbers magnifies rounding
        allowed = 1e-9 * max(1.0, parameter.grad.abs().max().item())
        torch.testing.assert_close(recorded, parameter.grad, rtol=0, atol=allowed)


def test_a_source_token_that_nobody_attends_to_is_as_if_it_were_not_there():
    model = random_towers("like the paper")
    ids, _, _ = random_pair()
    ids, source = ids[:1], torch.tensor([[1, 2, 3]])
    edit = {
        f"{where}[source_key=2]": float("-inf")
        for where in (
            *(f"encoder.blocks.{layer}.attn.attn_scores" for layer in (0, 1)),
            *(f"decoder.blocks.{layer}.cross_attn.attn_scores" for layer in (0, 1)),
        )
    }
    without = model.watch(ids, source=source, edit=edit)
    assert torch.equal(without["decoder.blocks.1.cross_attn.pattern[source_key=2]"].unique(),
                       torch.zeros(1, dtype=torch.float64))  # fmt: skip
    shorter = model.watch(ids, source=source[:, :2])
    torch.testing.assert_close(without["logits"], shorter["logits"], **ROUNDING)


def test_a_cross_attention_head_is_switched_off_by_its_address():
    model = random_towers("like marian")
    ids, _, source = random_pair()
    edit = {"decoder.blocks.0.cross_attn.z[head=1]": 0.0}
    trace = model.watch(ids, source=source, edit=edit)
    assert trace["decoder.blocks.0.cross_attn.z[head=1]"].abs().max() == 0
    assert not torch.isclose(trace["logits"], model(ids, source=source)).all(-1).any()
    by_weight = model.watch(
        ids, source=source, edit={"weight/decoder.blocks.0.cross_attn.W_O[head=1]": 0.0}
    )
    torch.testing.assert_close(trace["logits"], by_weight["logits"], **ROUNDING)


def test_axes_say_which_text_a_value_is_of():
    trace = random_towers("like marian").watch(*random_pair()[::2][:1], source=random_pair()[2])
    axes = {name: trace.node(name).axes for name in (
        "encoder.embed", "encoder.blocks.0.attn.pattern", "decoder.blocks.1.attn.pattern",
        "decoder.blocks.1.cross_attn.pattern", "decoder.blocks.1.cross_attn.v", "logits",
    )}  # fmt: skip
    assert axes == {
        "encoder.embed": ("batch", "source_pos", "d_model"),
        "encoder.blocks.0.attn.pattern": ("batch", "head", "source_query", "source_key"),
        "decoder.blocks.1.attn.pattern": ("batch", "head", "query", "key"),
        "decoder.blocks.1.cross_attn.pattern": ("batch", "head", "query", "source_key"),
        "decoder.blocks.1.cross_attn.v": ("batch", "source_pos", "head", "d_head"),
        "logits": ("batch", "pos", "vocab"),
    }


@EACH
def test_parameters_are_counted_without_making_them(name):
    model = random_towers(name)
    assert parameter_count(model.config) == sum(p.numel() for p in model.parameters())
    views = {view.name: view.value.numel() for view in model.views()}
    assert sum(views.values()) == parameter_count(model.config)
    assert ("decoder.embed.W_E" in views) is not model.config.shared_embeddings


def test_a_copy_of_a_model_shares_its_embeddings_as_the_model_does():
    from copy import deepcopy

    model = random_towers("like marian")
    copy = deepcopy(model).double()
    assert copy.decoder.embed is copy.encoder.embed
    with torch.no_grad():
        copy.encoder.embed.W_E.add_(1)
    assert torch.equal(copy.unembed.weight(gf.trace.SILENT), copy.encoder.embed.W_E.T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": None}, "reads a source beside the target"),
        ({"source": [[1, 2]]}, "1 sources for 2 targets"),
        ({"source": [[PAD], [PAD]]}, "nothing but padding"),
        ({"source": [[1], [11]]}, "outside the vocabulary of 11"),
        ({"source": ["a", "b"]}, "no tokenizer"),
    ],
)
def test_sources_that_cannot_be_read_are_refused(change, message):
    model = random_towers("like marian")
    ids, _, _ = random_pair()
    with pytest.raises(GlassformerError, match=message):
        model.watch(ids, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": {"causal": True}}, "causal=False"),
        ({"decoder": {"causal": False}}, "causal=True"),
        ({"decoder": {"parallel": True}}, "parallel=False"),
        ({"decoder": {"vocab_size": 12}}, "share their embeddings"),
        ({"pad_id": 11}, "pad_id=11 is outside"),
        ({"encoder": {"masked_head": True}}, "for an encoder alone"),
    ],
)
def test_towers_that_do_not_fit_are_refused(change, message):
    content = towers_of("like marian").to_dict()
    for name, value in change.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    with pytest.raises(GlassformerError, match=message):
        gf.TowersConfig.from_dict(content)
