"""A model's size by arithmetic: exact, and what is too large is refused before anything is made."""

import re
import time

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.interop.open import config_of as config_of_name
from glassformer.model import Config, Decoder, kinds, preset_names
from glassformer.model.size import parameter_count
from tests.model.variety import EVERY, SMALL, config_of, kind_of


@pytest.mark.parametrize("kind", EVERY)
def test_the_count_is_that_of_the_parameters_of_every_kind_of_model(kind):
    config = config_of(kind)
    with torch.device("meta"):
        assert parameter_count(config) == sum(
            p.numel() for p in kind_of(config)(config).parameters()
        )


@pytest.mark.parametrize("name", preset_names())
def test_the_count_is_that_of_every_preset(name):
    config = config_of_name(name)
    with torch.device("meta"):
        assert parameter_count(config) == sum(
            p.numel() for p in kinds.kind_of(config)(config).parameters()
        )


@pytest.mark.parametrize(
    "changes",
    [{"n_layers": 10**9}, {"n_ctx": 10**12}, {"d_model": 10**6 * 6}, {"vocab_size": 2**40}],
)
def test_a_size_that_no_model_has_is_refused_at_once(changes):
    started = time.process_time()  # the machine may be busy
    with pytest.raises(GlassformerError, match="the most there can be"):
        Config.from_dict({**SMALL, **changes})
    assert time.process_time() - started < 1


def test_weights_beyond_the_memory_are_refused_at_once_with_the_estimate():
    config = Config.from_dict({**SMALL, "d_model": 2**20 - 4, "n_layers": 4096})
    started = time.process_time()  # the machine may be busy
    for make in (Decoder, Decoder.unfilled):
        with pytest.raises(GlassformerError) as refused:
            make(config)
        assert re.search(
            r"the weights of a model .* would take 7[\d,.e+]+ GB, more than 80%", str(refused.value)
        )
    assert time.process_time() - started < 1
