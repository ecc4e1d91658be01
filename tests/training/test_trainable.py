"""A step can't learn, and says so; the S-shaped neurons can."""

import pytest
import torch

import glassformer as gf


def model(activation: str) -> gf.Decoder:
    torch.manual_seed(0)
    return gf.Decoder(gf.Config(9, 6, 8, 1, 2, activation=activation))


def test_a_step_is_refused_for_training_with_the_reason():
    with pytest.raises(gf.GlassformerError, match="the slope of a step is 0"):
        gf.watch_step(model("step"), [1, 2, 3, 4])


def test_a_step_can_be_watched_and_its_neurons_are_zeros_and_ones():
    trace = model("step").watch([1, 2, 3, 4])
    assert set(trace["blocks.0.mlp.post"].unique().tolist()) == {0.0, 1.0}
    assert trace.explain("blocks.0.mlp.post[pos=1,d_mlp=2]").agrees


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_an_s_shaped_neuron_learns(activation: str):
    watched = gf.watch_step(model(activation), [1, 2, 3, 4])
    assert watched.trace["bwd/blocks.0.mlp.W_in"].abs().max() > 0
    trace = watched.trace
    assert trace.explain("fwd/blocks.0.mlp.post[pos=1,d_mlp=2]").agrees
    assert trace.explain("bwd/blocks.0.mlp.pre[pos=1,d_mlp=2]").agrees
