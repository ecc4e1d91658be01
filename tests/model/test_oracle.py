"""Every recorded value against an independent forward pass in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer import ops
from glassformer.model import Config
from tests.model import oracle
from tests.model.variety import (
    EVERY,
    SMALL,
    config_of,
    configs,
    random_ids,
    random_inputs,
    random_model,
    random_targets,
)


def agrees_with_oracle(config, seed, with_targets):
    model = random_model(config, seed)
    ids = random_ids(config, seed)
    targets = random_targets(config, seed, ids) if with_targets else None
    more = random_inputs(config, seed, ids)
    trace = model.watch(ids, targets, **more)
    weights = {name: value.detach().numpy() for name, value in model.weights().items()}
    known = oracle.forward(
        config.to_dict(),
        weights,
        ids.numpy(),
        None if targets is None else targets.numpy(),
        {name: value.numpy() for name, value in more.items()},
    )
    assert {node.name for node in trace.computed} == set(known)
    for node in trace.computed:
        # float64, numbers of unit size, a dozen roundings: far inside 1e-10
        np.testing.assert_allclose(
            trace.value_of(node).numpy(),
            known[node.name],
            rtol=1e-10,
            atol=1e-10,
            err_msg=node.name,
        )
    logits = model(ids, **more).detach().numpy()
    np.testing.assert_allclose(logits, known["logits"], rtol=1e-10, atol=1e-10)
    if targets is not None:
        loss = model.loss(ids, targets, **more).item()
        np.testing.assert_allclose(loss, known["loss"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("with_targets", [False, True], ids=["probs", "loss"])
@pytest.mark.parametrize("name", EVERY)
def test_every_value_of_every_kind_of_model_is_the_oracles(name, with_targets):
    agrees_with_oracle(config_of(name), 5, with_targets)


@pytest.mark.parametrize("causal", [True, False])
def test_every_value_with_relative_positions_is_the_oracles(causal):
    sizes = {"relative_buckets": 8, "relative_distance": 6, "attn_scale": 1.0}
    relative = Config(**{**SMALL, **sizes, "n_ctx": 11}, position="relative", causal=causal)
    agrees_with_oracle(relative, 5, True)  # eleven tokens: near, by logs, and beyond the last


@given(configs(), st.integers(0, 999), st.booleans())
@settings(max_examples=25)
def test_every_value_of_any_model_is_the_oracles(config, seed, with_targets):
    agrees_with_oracle(config, seed, with_targets)


def test_the_variety_takes_every_choice():
    taken = [config_of(name).to_dict() for name in EVERY]
    for field, choices in {
        "position": {"learned", "sinusoidal", "rotary", "alibi", "none"},
        "norm_position": {"pre", "post", "branch", "both", "none"},
        "attn_bias_on": {"qkvo", "qkv", "o"},
        "norm": {"layer", "rms"},
        "activation": {*ops.ACTIVATIONS, "xielu"} - {"step"},  # of which nothing is trained
        **{
            flag: {True, False}
            for flag in (
                *("final_norm", "norm_gain", "norm_bias", "attn_bias"),
                *("mlp_bias", "head_bias", "tied", "qk_norm"),
                *("embed_norm", "zero_init", "gated", "parallel", "shared_norm"),
                *("qk_norm_gain", "qk_norm_wide", "qk_norm_last", "norm_gain_from_one"),
                *("attn_sinks", "expert_share", "router_bias", "alibi_bf16"),
                *("causal", "first_norm", "masked_head", "sinusoid_halves"),
            )
        },
    }.items():
        assert {config[field] for config in taken} == choices
