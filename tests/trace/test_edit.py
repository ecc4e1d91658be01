"""An edited number changes what follows from it, and nothing else."""

import pytest
import torch

from glassformer.errors import GlassformerError
from tests.model.variety import config_of, random_ids, random_model, random_targets

HEAD = "blocks.0.attn.pattern[head=2]"


@pytest.fixture
def model():
    return random_model(config_of("gpt2"), 0)


@pytest.fixture
def ids(model):
    return random_ids(model.config, 0)


def test_an_edit_travels_forward_only(model, ids):
    plain, edited = model.watch(ids), model.watch(ids, edit={HEAD: 0.0})
    assert (edited[HEAD] == 0).all()
    assert torch.equal(edited["blocks.0.attn.scores_raw"], plain["blocks.0.attn.scores_raw"])
    others = "blocks.0.attn.z[head=1]"
    assert torch.equal(edited[others], plain[others])
    assert (edited["blocks.0.attn.z[head=2]"] == 0).all()
    assert not torch.equal(edited["logits"], plain["logits"])


def test_an_edit_to_the_recorded_value_changes_nothing(model, ids):
    plain = model.watch(ids)
    edited = model.watch(ids, edit={"blocks.1.resid_mid": plain["blocks.1.resid_mid"]})
    assert torch.equal(edited["logits"], plain["logits"])


def test_an_edited_number_is_flagged_and_everything_after_it_is_explained(model, ids):
    edited = model.watch(ids, edit={HEAD: 0.25})
    assert any("edited" in f for f in edited.explain(f"{HEAD[:-1]},batch=0,query=1,key=0]").flags)
    after = edited.explain("blocks.0.attn.z[batch=0,pos=1,head=2,d_head=0]")
    assert after.agrees
    assert not after.flags


def test_a_weight_can_be_edited_without_touching_the_model(model, ids):
    address = "weight/blocks.1.mlp.b_in[d_mlp=3]"
    before = model.weights()["blocks.1.mlp.b_in"].clone()
    plain, edited = model.watch(ids), model.watch(ids, edit={address: 2.5})
    assert edited[address] == 2.5
    gap = edited["blocks.1.mlp.pre"] - plain["blocks.1.mlp.pre"]
    assert (gap[..., :3] == 0).all()
    # one rounded addition on each side
    torch.testing.assert_close(
        gap[..., 3], (2.5 - before[3]).expand(ids.shape), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(model.weights()["blocks.1.mlp.b_in"], before)


def test_an_edited_pass_can_be_followed_backward(model, ids):
    targets = random_targets(model.config, 0, ids)
    trace = model.watch(ids, targets, backward=True, edit={HEAD: 0.0})
    assert trace["bwd/blocks.0.attn.scores_raw[head=2]"].abs().max() == 0.0
    explanation = trace.explain("bwd/blocks.0.attn.W_V[head=1,d_model=0,d_head=0]", check=True)
    assert explanation.agrees
    assert explanation.difference is not None
    gap = abs(explanation.value - explanation.difference.value)
    assert gap <= max(1e-6 * abs(explanation.value), explanation.difference.error)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("blocks.0.attn.patern", "Did you mean"),
        ("weight/blocks.0.attn.W_W", "Did you mean"),
        ("blocks.0.attn.pattern[head=7]", "goes from 0 to 2"),
        ("bwd/logits", "cannot be edited"),
    ],
)
def test_an_edit_of_what_is_not_there_is_refused(model, ids, address, message):
    with pytest.raises(GlassformerError, match=message):
        model.watch(ids, edit={address: 0.0})
