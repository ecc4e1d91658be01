"""The table of names: each alias stands for the same numbers, and nothing we record is left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glassformer.interop.folder import load_folder
from glassformer.interop.names import activations, weights
from tests.interop.models import random_ids
from tests.parity.hugging_face import gpt2_model


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def both(request, tmp_path_factory):
    """The same weights as a model of `transformers` and as ours, in float64."""
    theirs = gpt2_model(
        torch.float64, tie_word_embeddings=request.param, attn_implementation="eager"
    )
    folder = tmp_path_factory.mktemp("names")
    theirs.save_pretrained(folder)
    return theirs, load_folder(folder)[0]


def third_of(name, tensor: Tensor) -> Tensor:
    return tensor if name.third is None else tensor.chunk(3, -1)[name.third]


def test_every_weight_is_the_tensor_that_the_table_says(both):
    theirs, ours = both
    state = theirs.state_dict()
    table = list(weights(ours.config))
    assert [name.glassformer for name in table if name.glassformer not in ours.weights()] == []
    assert [name for name in ours.weights() if name not in {n.glassformer for n in table}] == []
    for name in table:
        value, expected = ours.weights()[name.glassformer], third_of(name, state[name.hugging_face])
        last = name.glassformer.rpartition(".")[2]
        if last in ("W_Q", "W_K", "W_V"):  # [head, d_model, d_head] -> [d_model, head * d_head]
            value = value.permute(1, 0, 2).flatten(1)
        elif last == "W_O":  # [head, d_head, d_model] -> [head * d_head, d_model]
            value = value.flatten(0, 1)
        elif last == "W_U":
            expected = expected.T
        assert torch.equal(value.reshape(expected.shape), expected), name


def test_every_tensor_of_theirs_is_in_the_table(both):
    theirs, ours = both
    tied = {"lm_head.weight"} if ours.config.tied else set()
    named = {name.hugging_face for name in weights(ours.config)}
    assert set(theirs.state_dict()) - tied == named


def test_every_activation_is_the_output_that_the_table_says(both):
    theirs, ours = both
    result: dict[str, Tensor] = {}

    def keep(path):
        def hook(_module, _inputs, output):
            result[path] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [m.register_forward_hook(keep(path)) for path, m in theirs.named_modules() if path]
    ids = random_ids(ours.config)
    with torch.no_grad():
        attentions = theirs(ids, output_attentions=True).attentions
    for hook in hooks:
        hook.remove()
    trace = ours.watch(ids)
    compared = 0
    for name in activations(ours.config):
        value = trace[name.glassformer]
        if name.hugging_face is not None:
            expected = third_of(name, result[name.hugging_face])
            # float64, the same sums in another order
            difference = (value.reshape(-1, *expected.shape[1:]) - expected).abs().max()
            assert difference < 1e-10, name
            compared += 1
    assert compared == 4 + 11 * ours.config.n_layers
    for layer, expected in enumerate(attentions):
        assert (trace[f"blocks.{layer}.attn.pattern"] - expected).abs().max() < 1e-10


def test_values_without_another_name_are_the_ones_in_between(both):
    """What we record and the table leaves out has no name elsewhere: it is listed here."""
    _, ours = both
    steps = {step.name for step in ours.watch(random_ids(ours.config)).computed}
    named = {name.glassformer for name in activations(ours.config)}
    assert named <= steps
    inner = {name.removeprefix("blocks.0.") for name in steps - named if "blocks.0." in name}
    norm = ("mean", "centered", "squared", "variance")
    assert inner == {
        *(f"{ln}.{step}" for ln in ("ln1", "ln2") for step in norm),
        "attn.scores_raw",
        "attn.scores_scaled",
        "attn.pattern_max",
        "attn.pattern_exp",
        "attn.pattern_sum",
        "mlp.post_argument",
        "mlp.post_tanh",
    }
