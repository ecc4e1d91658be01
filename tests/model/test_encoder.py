"""An encoder: every token sees all others, padding is seen by none, and all of it is explained."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer import Config, Decoder, Encoder, GlassformerError
from glassformer.ops import IGNORED
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step, zero_moments
from tests.model.variety import (
    ENCODERS,
    SMALL,
    config_of,
    random_ids,
    random_inputs,
    random_model,
    random_targets,
)

NAMES = sorted(ENCODERS)
# float64, numbers of unit size: another length may be summed in another order
CLOSE = {"rtol": 0, "atol": 1e-12}


@given(st.sampled_from(NAMES), st.integers(0, 999), st.integers(1, 6), st.booleans())
@settings(max_examples=25)
def test_padding_never_changes_a_logit(name, seed, n, watched):
    """Neither which tokens it is made of, nor whether it is there at all."""
    config = config_of(name)
    model, ids = random_model(config, seed), random_ids(config, seed, batch=1)
    seen = torch.ones_like(ids)
    seen[:, n:] = 0
    other = ids.clone()
    other[:, n:] = (other[:, n:] + 1) % config.vocab_size

    def logits(ids: torch.Tensor) -> torch.Tensor:
        return (
            model.watch(ids, seen=seen)["logits"][:n] if watched else model(ids, seen=seen)[0, :n]
        )

    assert torch.equal(logits(ids), logits(other))
    torch.testing.assert_close(logits(ids), model(ids[:, :n])[0], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_every_token_changes_every_logit(name):
    """Through two layers, where the first looks at all or near ones only."""
    config = config_of(name)
    model, ids = random_model(config, 1), random_ids(config, 1, batch=1)
    before = model(ids)
    for changed in range(ids.shape[1]):
        other = ids.clone()
        other[:, changed] = (other[:, changed] + 1) % config.vocab_size
        assert (model(other) != before).any(-1).all()


def test_a_window_reaches_to_both_sides_and_no_further():
    config = Config.from_dict({**SMALL, "causal": False, "windows": [2], "n_layers": 1})
    ids = random_ids(config, 1, batch=1)
    pattern = random_model(config, 1).watch(ids)["blocks.0.attn.pattern"]
    pos = torch.arange(ids.shape[1])
    window = (pos[:, None] - pos).abs() <= 2
    assert torch.equal(pattern[0] > 0, window)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_with_padding_are_those_of_finite_differences(name):
    config = config_of(name)
    model, ids = random_model(config, 2), random_ids(config, 2)
    targets, more = random_targets(config, 2, ids), random_inputs(config, 2, ids)
    trace = model.watch(ids, targets, backward=True, **more)
    pick = random.Random(0)
    for name, weight in model.weights().items():
        index = tuple(pick.randrange(n) for n in weight.shape)
        losses, step = [], 1e-6
        with torch.no_grad():
            for sign in (1, -1):
                weight[index] += sign * step
                losses.append(model.loss(ids, targets, **more).item())
                weight[index] -= sign * step
        slope = (losses[0] - losses[1]) / (2 * step)
        # a central difference in float64: 1e-10 of rounding, and the third derivative times 1e-12
        gradient = trace.value_of(trace.node(f"bwd/{name}"))[index].item()
        assert gradient == pytest.approx(slope, abs=1e-7, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("name", NAMES)
def test_random_numbers_of_a_step_are_explained_by_their_arithmetic(name, optimizer):
    config = config_of(name)
    model, ids = random_model(config, 3), random_ids(config, 3)
    targets, more = random_targets(config, 3, ids), random_inputs(config, 3, ids)
    recipe = Recipe(optimizer=optimizer)
    moments = zero_moments(model)
    trace = watch_step(
        model, ids, targets, recipe=recipe, moments=moments, lr=recipe.lr, t=1, **more
    ).trace
    pick = random.Random(1)
    for kind in ("fwd", "bwd", "opt"):
        nodes = [node for node in trace.computed if node.path.startswith(f"{kind}/")]
        for node in pick.sample(nodes, 20):
            at = ",".join(
                f"{a}={pick.randrange(n)}" for a, n in zip(node.axes, node.shape, strict=True)
            )
            explanation = trace.explain(f"{node.path}[{at}]" if at else node.path)
            assert explanation.agrees, explanation.address


def test_a_padded_key_is_explained_by_the_padding():
    config = config_of("like bert")
    ids = random_ids(config, 1, batch=1)
    seen = torch.ones_like(ids)
    seen[0, 4:] = 0
    trace = random_model(config, 1).watch(ids, seen=seen)
    explanation = trace.explain("blocks.0.attn.attn_scores[head=0,query=1,key=5]")
    assert explanation.agrees
    assert "1 <= 0: no" in str(explanation)
    assert trace["const/seen"].tolist() == [True] * 4 + [False] * 3


def test_a_target_is_asked_where_a_token_was_masked_and_nowhere_else():
    config = config_of("like bert")
    model, ids = random_model(config, 1), random_ids(config, 1, batch=1)
    targets = torch.full_like(ids, IGNORED)
    targets[0, 2] = 5
    loss = model.loss(ids, targets)
    assert loss.item() == pytest.approx(-model(ids)[0, 2].log_softmax(-1)[5].item())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Encoder(Config.from_dict(SMALL)), "give causal=False, or gf.Decoder"),
        (lambda: Decoder(config_of("like bert")), "a model of causal=False is gf.Encoder"),
        (
            lambda: Config.from_dict({**SMALL, "causal": False, "position": "alibi"}),
            "needs causal=True",
        ),
        (
            lambda: random_model(config_of("plain encoder"), 1)([[1, 2]], types=[[0, 1]]),
            "this model has no token types; leave types out",
        ),
        (
            lambda: random_model(config_of("like bert"), 1)([[1, 2]], types=[[0, 2]]),
            "types are 0 to 1 in this model",
        ),
        (
            lambda: random_model(config_of("like bert"), 1)([[1, 2]], seen=[[1]]),
            r"seen \[1, 1\] must have the shape of ids, \[1, 2\]",
        ),
        (
            lambda: random_model(config_of("like bert"), 1)([[1, 2]], seen=[[0, 0]]),
            "seen hides every token of a text; give each text a token",
        ),
        (
            lambda: random_model(config_of("like bert"), 1)(
                [[1, 2], [3, 4]], seen=[[1, 0], [0, 1]]
            ),
            "padding stands before the text of row 1, .* put padding behind the text",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(make, message):
    with pytest.raises(GlassformerError, match=message):
        make()
