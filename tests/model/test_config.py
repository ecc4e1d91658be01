"""A configuration checks itself, and says what to try instead."""

import pytest
from hypothesis import given

from glassformer import Config, GlassformerError
from glassformer.interop.open import config_of
from glassformer.model import load_preset, preset_names
from glassformer.model.kinds import config_from
from tests.model.variety import SMALL, configs

GOOD = {**SMALL, "d_mlp": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 100, "n_heads": 12}, r"d_model=100 does not split .*; try 96 or 108"),
        ({"d_model": 2, "n_heads": 3}, r"d_model=2 does not split .*; try 3"),
        ({"vocab_size": 0}, r"vocab_size=0 must be at least 1"),
        ({"n_ctx": -4}, r"n_ctx=-4 must be at least 1"),
        ({"n_layers": 0}, r"n_layers=0 must be at least 1"),
        ({"n_heads": 0}, r"n_heads=0 must be at least 1"),
        ({"d_head": -1}, r"d_head=-1 must be positive, or 0 for its default"),
        ({"d_mlp": -1}, r"d_mlp=-1 must be positive, or 0 for its default"),
        ({"d_model": 6.0}, r"d_model=6.0 must be a whole number"),
        ({"n_layers": True}, r"n_layers=True must be a whole number"),
        ({"tied": 1}, r"tied=1 must be true or false"),
        ({"activation": None}, r"activation=None must be a word"),
        ({"dropout": "much"}, r"dropout='much' must be a number"),
        ({"activation": "gleu"}, r"none of relu, relu_squared, .*, xielu. Did you mean 'gelu'\?"),
        (
            {"position": "absolute"},
            r"position='absolute' is none of learned, sinusoidal, rotary, relative, alibi, none",
        ),
        ({"norm_position": "Pre"}, r"norm_position='Pre' .* Did you mean 'pre'\?"),
        ({"norm": "rms"}, r"norm='rms' has no bias to learn .*; give norm_bias=False"),
        ({"norm": "batch", "norm_bias": False}, r"norm='batch' is none of layer, rms"),
        ({"dropout": 1.0}, r"dropout=1 is a probability; give 0 or more, below 1"),
        ({"dropout": -0.1}, r"dropout=-0.1 is a probability"),
        ({"dropout": float("nan")}, r"dropout=nan is not a number"),
        ({"norm_eps": 0.0}, r"norm_eps=0 must be positive, for example 1e-5"),
        ({"norm_eps": float("nan")}, r"norm_eps=nan is not a number"),
        ({"norm_eps": float("inf")}, r"norm_eps=inf must be positive"),
        ({"layers": 3}, r"'layers' is not a field .* Did you mean 'n_layers'\?"),
    ],
)
def test_a_wrong_field_is_answered_with_what_to_try(changes, message):
    with pytest.raises(GlassformerError, match=message):
        Config.from_dict({**GOOD, **changes})


def test_missing_fields_are_named():
    with pytest.raises(GlassformerError, match="lacks n_ctx, n_heads"):
        Config.from_dict({"vocab_size": 5, "d_model": 4, "n_layers": 1})


@given(configs())
def test_a_configuration_survives_its_dict(config):
    assert Config.from_dict(config.to_dict()) == config


def test_default_widths_follow_the_model_width():
    config = Config.from_dict(GOOD)
    assert (config.d_head, config.d_mlp) == (2, 24)
    wider = config.replace(d_model=12)
    assert (wider.d_head, wider.d_mlp) == (4, 48)
    assert config.replace(n_heads=2).d_head == 3
    assert config.replace(n_layers=5).replace(n_layers=2) == config


def test_widths_that_were_chosen_stay():
    config = Config.from_dict({**GOOD, "d_head": 5, "d_mlp": 7})
    wider = config.replace(d_model=12, n_heads=2)
    assert (wider.d_head, wider.d_mlp) == (5, 7)
    assert config.replace(d_head=0, n_heads=2).d_head == 3


def test_a_configuration_is_frozen():
    for name in GOOD:
        with pytest.raises(AttributeError):
            setattr(Config.from_dict(GOOD), name, 3)


def test_a_whole_number_will_do_for_a_number():
    assert Config.from_dict({**GOOD, "dropout": 0}).dropout == 0.0


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_configuration(name):
    content = load_preset(name)["model"]
    assert config_of(name) == config_from(content)
    assert ("encoder" in content) or Config.preset(name) == config_of(name)


def test_an_unknown_preset_is_answered_with_the_nearest_and_with_all():
    with pytest.raises(
        GlassformerError, match=r"'GTP2'.* Did you mean 'gpt2'\? Presets: bert-base, bert-large, "
    ):
        Config.preset("GTP2")


def test_rotary_positions_need_pairs_of_dimensions():
    with pytest.raises(GlassformerError, match="d_head=3 must be even; try 4"):
        Config(vocab_size=5, n_ctx=4, d_model=6, n_layers=1, n_heads=2, position="rotary")
