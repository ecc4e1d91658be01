"""An edited number changes what follows from it, and nothing else."""

import random

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.trace import Address, Trace
from glassformer.trace.node import Node
from glassformer.watch.edits import NewValue
from tests.model.variety import config_of, random_ids, random_model, random_targets
from tests.trace.test_backward import assert_explained
from tests.trace.test_explain import some_address

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


def test_an_edited_number_is_flagged_its_neighbours_are_not_and_all_are_explained(model, ids):
    plain, edited = model.watch(ids), model.watch(ids, edit={HEAD: 0.25})
    changed = edited.explain(f"{HEAD[:-1]},batch=0,query=1,key=0]")
    assert changed.flags == ["edited: this number was set by hand"]
    assert changed.agrees
    beside = edited.explain("blocks.0.attn.pattern[head=1,batch=0,query=1,key=0]")
    assert beside.agrees
    assert not beside.flags
    computed = f"{HEAD.partition('[')[0]}_unedited"
    assert torch.equal(edited[computed], plain[HEAD.partition("[")[0]])
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


def random_edit(trace: Trace, rng: random.Random) -> dict[str, NewValue]:
    """Some values of a pass, each edited at a slice: to a number, to numbers, by a function."""

    def part(node: Node) -> str:
        chosen = rng.sample(range(len(node.axes)), min(len(node.axes), rng.randrange(3)))
        return str(
            Address(
                "fwd",
                node.name,
                tuple((node.axes[d], rng.randrange(node.shape[d])) for d in chosen),
            )
        )

    nodes = [node for node in trace.computed if node.kind == "fwd" and node.path != "fwd/loss"]
    texts = [part(node) for node in rng.sample(nodes, 4)]
    kinds: tuple[NewValue, ...] = (
        0.5,
        lambda value: 2 * value,
        lambda value: value.flip(0) if value.ndim else -value,
    )
    return {text: kinds[rng.randrange(3)] for text in texts}


@pytest.mark.parametrize(
    "name", ["gpt2", "post-norm", "rotary", "like llama", "like gemma", "fast"]
)
def test_after_random_edits_every_number_and_gradient_agrees_with_its_formula(name):
    rng = random.Random(name)
    model = random_model(config_of(name), 3)
    ids = random_ids(model.config, 3)
    targets = random_targets(model.config, 3, ids)
    edit = random_edit(model.watch(ids, targets), rng)
    trace = model.watch(ids, targets, backward=True, edit=edit)
    assert sum(node.edited for node in trace.computed) == len({a.partition("[")[0] for a in edit})
    for node in trace.computed:
        assert_explained(trace, some_address(node, rng))


def test_no_gradient_passes_an_edit_and_a_nudge_finds_the_same(model, ids):
    targets = random_targets(model.config, 0, ids)
    edit = {HEAD: lambda pattern: pattern / 2, "blocks.1.mlp.post[pos=1]": 0.3}
    trace = model.watch(ids, targets, backward=True, edit=edit)
    assert (trace["bwd/blocks.0.attn.pattern_unedited[head=2]"] == 0).all()
    for address in (
        "blocks.0.attn.pattern_unedited[batch=0,head=1,query=2,key=0]",
        "blocks.0.attn.pattern_unedited[batch=0,head=2,query=2,key=0]",
        "blocks.0.attn.pattern[batch=0,head=2,query=2,key=0]",
        "blocks.0.attn.q[batch=0,pos=2,head=2,d_head=0]",
        "blocks.1.mlp.pre[batch=0,pos=1,d_mlp=0]",
        "blocks.1.mlp.pre[batch=0,pos=0,d_mlp=0]",
    ):
        explanation = trace.explain(f"bwd/{address}", check=True)
        assert explanation.agrees
        assert explanation.difference is not None
        gap = abs(explanation.value - explanation.difference.value)
        assert gap <= max(1e-6 * abs(explanation.value), explanation.difference.error), address


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
