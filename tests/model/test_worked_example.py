"""The worked example: every figure of an independent pure-Python program, to 1e-12."""

import json
import math
from pathlib import Path

import pytest
import torch

from glassformer import ops
from glassformer.model import build_preset, load_preset

KNOWN = json.loads(Path(__file__).with_name("worked_example.json").read_text(encoding="utf-8"))
FORWARD, PRINTED = KNOWN["forward"], KNOWN["printed_in_the_source"]
WORDS = load_preset("worked_example")["tokenizer"]["vocabulary"]

# what the figures call a value, and where it is here
NAMES = {
    "embed": "resid_start",
    "ln1": "blocks.0.ln1.normalized",
    "q": "blocks.0.attn.q",
    "k": "blocks.0.attn.k",
    "v": "blocks.0.attn.v",
    "attn_scores_causal": "blocks.0.attn.attn_scores",
    "pattern": "blocks.0.attn.pattern",
    "z": "blocks.0.attn.z",
    "attn_out": "blocks.0.attn.attn_out",
    "resid_mid": "blocks.0.resid_mid",
    "ln2": "blocks.0.ln2.normalized",
    "mlp_pre": "blocks.0.mlp.pre",
    "mlp_post": "blocks.0.mlp.post",
    "mlp_out": "blocks.0.mlp.mlp_out",
    "resid_post": "blocks.0.resid_post",
    "logits": "logits",
    "probs": "probs",
}


def numbers(table: list) -> torch.Tensor:
    """A table of figures, null standing for minus infinity."""
    rows = [[-math.inf if x is None else x for x in row] for row in table]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return build_preset("worked_example", torch.float64)


@pytest.fixture(scope="module")
def ids():
    return torch.tensor([[WORDS.index(word) for word in KNOWN["prompt"]]])


def test_the_vocabulary_is_the_documents():
    assert KNOWN["vocabulary"] == WORDS


def test_every_figure_of_the_forward_pass_has_a_name_here():
    assert set(FORWARD) - set(NAMES) == {
        "loss_of_target_at_last_position",
        "prediction_at_last_position",
    }


@pytest.mark.parametrize("figure", NAMES)
def test_every_recorded_value_is_the_known_one(model, ids, figure):
    recorded = model.watch(ids)[NAMES[figure]]
    # one head of one text: axes of length 1 fall away
    torch.testing.assert_close(recorded, numbers(FORWARD[figure]), rtol=0, atol=1e-12)


def test_the_silent_logits_are_the_known_ones(model, ids):
    torch.testing.assert_close(model(ids)[0], numbers(FORWARD["logits"]), rtol=0, atol=1e-12)


def test_the_loss_and_the_prediction_are_the_known_ones(model, ids):
    only_last = torch.full_like(ids, ops.IGNORED)
    only_last[0, -1] = WORDS.index(KNOWN["target"])
    known = FORWARD["loss_of_target_at_last_position"]
    assert model.loss(ids, only_last).item() == pytest.approx(known, abs=1e-12)
    assert model.watch(ids, only_last)["loss"].item() == pytest.approx(known, abs=1e-12)
    assert WORDS[model(ids)[0, -1].argmax()] == FORWARD["prediction_at_last_position"] == "cat"


def test_the_documents_attention_output_does_not_follow_from_its_own_matrices(model, ids):
    printed = torch.tensor(PRINTED["attn_out"], dtype=torch.float64)
    recorded = model.watch(ids)["blocks.0.attn.attn_out[pos=3]"]
    # two printed decimals would be within 0.005; three of the four numbers are farther off
    assert ((recorded - printed).abs() > 0.005).tolist() == [True, True, True, True]
    x_on = torch.tensor(FORWARD["embed"][3], dtype=torch.float64)
    known = torch.tensor(PRINTED["resid_mid"], dtype=torch.float64)
    torch.testing.assert_close(x_on + printed, known, rtol=0, atol=1e-12)


def test_from_its_printed_residual_on_the_documents_numbers_follow(model):
    weights = model.weights()
    W_in, W_out = weights["blocks.0.mlp.W_in"], weights["blocks.0.mlp.W_out"]
    known = KNOWN["from_printed_resid_mid"]
    resid_mid = torch.tensor([[PRINTED["resid_mid"]]], dtype=torch.float64)
    with torch.no_grad():
        normalized = ops.layer_norm.kernel(resid_mid, None, None, eps=model.config.norm_eps)
        post = ops.ACTIVATIONS["relu"].kernel(ops.mlp_in.kernel(normalized, W_in, None))
        mlp_out = ops.mlp_out.kernel(post, W_out, None)
        resid_post = ops.add.kernel(resid_mid, mlp_out)
        printed_resid_post = torch.tensor([[PRINTED["resid_post"]]], dtype=torch.float64)
        logits = ops.unembed.kernel(printed_resid_post, weights["unembed.W_U"], None)
        probs = ops.softmax_probs.kernel(logits)
        loss = ops.unembed_cross_entropy.kernel(
            printed_resid_post,
            weights["unembed.W_U"],
            None,
            torch.tensor([[WORDS.index("mat")]]),
        )
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(mlp_out[0], numbers([known["mlp_out"]]), **close)
    torch.testing.assert_close(
        logits[0], numbers([known["logits_from_printed_resid_post"]]), **close
    )
    torch.testing.assert_close(probs[0], numbers([known["probs"]]), **close)
    assert probs[0, 0, WORDS.index("cat")].item() == pytest.approx(known["prob_cat"], abs=1e-12)
    assert probs[0, 0, WORDS.index("mat")].item() == pytest.approx(known["prob_mat"], abs=1e-12)
    assert loss.item() == pytest.approx(known["loss_mat"], abs=1e-12)
    assert WORDS[logits[0, 0].argmax()] == PRINTED["prediction"]
    # the document prints two decimals
    torch.testing.assert_close(mlp_out[0], numbers([PRINTED["mlp_out"]]), rtol=0, atol=0.005)
    torch.testing.assert_close(resid_post[0], numbers([PRINTED["resid_post"]]), rtol=0, atol=0.005)
