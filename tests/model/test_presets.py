"""Presets: exact parameter totals, and weights where they have them."""

import pytest
import torch

from glassformer import Config, Decoder, GlassformerError
from glassformer.model import build_preset
from tests.model.variety import VARIETY, config_of, random_model

TOTALS = {  # as published, or counted by hand below
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3": 174_604_259_328,
    # 6 * 4 tokens + 4 * 4 positions + 4 * 16 attention + 2 * 16 feed-forward + 4 * 6 head
    "worked_example": 24 + 16 + 64 + 32 + 24,
    # 8 * 4 tokens + 6 * 4 positions, listed apart from the 268
    "miniature": 32 + 24 + 268,
}


@pytest.mark.parametrize("name", TOTALS)
def test_a_preset_has_exactly_this_many_parameters(name):
    with torch.device("meta"):
        model = Decoder(Config.preset(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == TOTALS[name]
    assert sum(view.value.numel() for view in model.views()) == TOTALS[name]


def test_the_miniature_counts_268_as_its_table_lists_them():
    sizes = {name: weight.numel() for name, weight in build_preset("miniature").weights().items()}
    part = {
        **{f"{i}": sizes[f"blocks.0.attn.W_{i}"] + sizes[f"blocks.0.attn.b_{i}"] for i in "QKVO"},
        "up": sizes["blocks.0.mlp.W_in"] + sizes["blocks.0.mlp.b_in"],
        "down": sizes["blocks.0.mlp.W_out"] + sizes["blocks.0.mlp.b_out"],
        "head": sizes["unembed.W_U"] + sizes["unembed.b_U"],
    }
    assert part == {"Q": 20, "K": 20, "V": 20, "O": 20, "up": 80, "down": 68, "head": 40}
    assert sum(part.values()) == 268
    assert sizes["embed.W_E"] == 32
    assert sizes["pos_embed.W_pos"] == 24


def test_a_preset_without_weights_is_always_the_same_model():
    first, state = build_preset("miniature"), torch.get_rng_state()
    torch.manual_seed(1)
    second = build_preset("miniature", torch.float64)
    for name, weight in first.weights().items():
        assert torch.equal(weight.double(), second.weights()[name]), name
    torch.set_rng_state(state)
    build_preset("miniature")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", VARIETY)
def test_named_views_cover_every_parameter_once(name):
    model = random_model(config_of(name), 0)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(weight.numel() for weight in model.weights().values()) == total
    with torch.no_grad():
        for weight in model.weights().values():
            weight.add_(1000.0)
    assert all(bool((parameter > 900).all()) for parameter in model.parameters())


def test_views_that_were_loaded_are_the_models_weights():
    source, target = (random_model(config_of("wide heads"), seed) for seed in (1, 2))
    target.load_views({name: weight.tolist() for name, weight in source.weights().items()})
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name
    target.load_views(source.weights())
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(source(ids), target(ids))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed.W_F": [[1.0]]}, r"no weight 'embed.W_F'. Did you mean 'embed.W_E'\?"),
        ({"unembed.b_U": None}, r"missing: unembed.b_U; give them all"),
        ({"unembed.b_U": [1.0]}, r"unembed.b_U has shape \[1\]; this model's is \[11\]"),
        ({"unembed.b_U": [[1.0] * 11]}, r"unembed.b_U has shape \[1, 11\]"),
        ({"unembed.b_U": ["a"] * 11}, r"unembed.b_U is not a table of numbers"),
        ({"embed.W_E": [[1.0], [1.0, 2.0]]}, r"embed.W_E is not a table .* rows of equal length"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, message):
    model = random_model(config_of("bias only"), 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = {**model.weights(), **change}
    values = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(GlassformerError, match=message):
        model.load_views(values)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
