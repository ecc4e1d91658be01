"""Recorded values equal TransformerLens's cache for the same weights, name by name.

TransformerLens boots from the very folder that we saved, through transformers.
"""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch

from glassformer.interop import families
from glassformer.interop.folder import load_folder, save
from glassformer.interop.names import activations, weights
from glassformer.text.tokenizer import Tokenizer
from tests.interop.models import ODD, random_ids, random_model
from tests.parity.families import FAMILIES, InDouble, their_model

pytestmark = pytest.mark.heavy  # the import alone takes many seconds

# the cache holds these values a second time, as inputs or outputs of TransformerLens's own parts
SECOND_NAMES = ("hook_in", "hook_out", "hook_hidden_states")
EXACT = 1e-10  # float64, the same sums in another order


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def both(request, tmp_path_factory):
    bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
    tokenizer = Tokenizer.train("words", ["the cat sat on the mat"])
    ours = random_model(ODD.replace(tied=request.param), torch.float64)
    folder = tmp_path_factory.mktemp("lens")
    save(ours, tokenizer, folder)
    lens = bridge.boot_transformers(str(folder), device="cpu", dtype=torch.float64)
    lens.enable_compatibility_mode(no_processing=True)
    return lens, ours


def test_transformer_lens_is_installed():
    assert importlib.util.find_spec("transformer_lens"), "pip install -e '.[parity]'"


def test_every_recorded_value_equals_the_cache_under_its_name(both):
    lens, ours = both
    ids = random_ids(ours.config)
    with torch.no_grad():
        _, cache = lens.run_with_cache(ids)
    trace = ours.watch(ids)
    for name in activations(ours.config):
        value, expected = trace[name.glassformer], cache[name.transformer_lens]
        if name.glassformer.endswith(".scale"):
            expected = expected[..., 0]
        if name.glassformer == "pos_embed":  # one table for all texts of the batch
            expected = expected[0]
        assert value.shape == expected.shape, name
        hidden = torch.isneginf(expected)  # masked scores
        assert torch.equal(torch.isneginf(value), hidden), name
        assert (value - expected)[~hidden].abs().max() < EXACT, name


def test_every_value_that_the_cache_names_is_in_the_table(both):
    lens, ours = both
    with torch.no_grad():
        _, cache = lens.run_with_cache(random_ids(ours.config))
    named = {name.transformer_lens for name in activations(ours.config)}
    rest = {key for key in cache if key not in named and not key.endswith(SECOND_NAMES)}
    assert rest == {"hook_unembed"}  # the logits, a second time


def test_every_weight_has_the_same_name_and_numbers(both):
    lens, ours = both
    table = list(weights(ours.config))
    assert {name.glassformer for name in table} == set(ours.weights())
    for name in table:
        assert name.transformer_lens is not None
        result = lens
        for part in name.transformer_lens.split("."):
            result = result[int(part)] if part.isdigit() else getattr(result, part)
        assert torch.equal(result, ours.weights()[name.glassformer]), name


# of variants that TransformerLens knows: heads that share keys and values, biases, QK-norms, a
# parallel block with part of each head turned
SHAPES = [
    *(("llama", 1), ("llama", 2), ("qwen2", 0), ("qwen2", 1), ("qwen3", 0), ("qwen3", 1)),
    *(("gpt_neox", 0), ("apertus", 2), ("smollm3", 0), ("mistral", 0), ("mistral", 1)),
    *(("phi", 0), ("phi", 1), ("phi3", 0), ("phi3", 1), ("stablelm", 0), ("stablelm", 1)),
    *(("arcee", 0), ("arcee", 1), ("granite", 1)),
]
THEIRS_ALONE = (  # what its parts name a second time, or what no value of ours is
    *("hook_cos", "hook_sin", "hook_unembed", *SECOND_NAMES),
)


@pytest.fixture(scope="module", params=SHAPES, ids=[f"{name} {i}" for name, i in SHAPES])
def of_family(request, tmp_path_factory):
    """A folder of `transformers`, in TransformerLens and here, in float64."""
    bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
    model_type, variant = request.param
    folder = tmp_path_factory.mktemp("family")
    their_model(model_type, FAMILIES[model_type][variant]).save_pretrained(folder)
    Tokenizer.train("words", ["the cat sat on the mat"]).save(folder)
    with InDouble():
        lens = bridge.boot_transformers(str(folder), device="cpu", dtype=torch.float64)
        lens.enable_compatibility_mode(no_processing=True)
    return lens, load_folder(folder)[0]


def test_every_value_of_a_family_equals_the_cache_under_its_name(of_family):
    lens, ours = of_family
    ids = random_ids(ours.config)
    with torch.no_grad(), InDouble():
        _, cache = lens.run_with_cache(ids)
    trace = ours.watch(ids)
    table = list(activations(ours.config, families.family(ours.folder_settings.model_type)))
    for name in table:
        if name.transformer_lens is None:
            assert ".rot_" in name.glassformer, name
            continue
        value, expected = trace[name.glassformer], cache[name.transformer_lens]
        if name.glassformer.endswith("scale") and expected.shape[-1] == 1:
            expected = expected[..., 0]
        if value.shape != expected.shape:  # of QK-norms, the heads come before the positions
            expected = expected.transpose(1, 2)
        assert value.shape == expected.shape, name
        hidden = torch.isneginf(expected)  # masked scores
        assert torch.equal(torch.isneginf(value), hidden), name
        assert (value - expected)[~hidden].abs().max() < EXACT, name
    rest = {key for key in cache if key not in {name.transformer_lens for name in table}}
    unturned = [i for i in range(ours.config.n_layers) if ours.config.rotary(i) is None]
    copies = {f"blocks.{i}.attn.hook_rot_{x}" for i in unturned for x in "qk"}
    known = {n for n in rest if n.endswith((*THEIRS_ALONE, "hook_q_normed", "hook_k_normed"))}
    known |= copies
    assert rest == known, rest ^ known


def test_every_weight_of_a_family_has_the_same_name_and_numbers(of_family):
    lens, ours = of_family
    for name in weights(ours.config, families.family(ours.folder_settings.model_type)):
        assert name.transformer_lens is not None
        result = lens
        for part in name.transformer_lens.split("."):
            result = result[int(part)] if part.isdigit() else getattr(result, part)
        assert torch.equal(result.double(), ours.weights()[name.glassformer]), name
