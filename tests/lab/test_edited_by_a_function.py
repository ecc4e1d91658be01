"""A value is what a function makes of it, and several texts are watched at once."""

import pytest
import torch

import glassformer as gf


def test_a_function_makes_a_value_another_and_later_numbers_follow_from_it():
    model, _ = gf.load("worked_example")
    edit = {"blocks.0.mlp.post": lambda post: 2 * post + 1}
    result = gf.lab.edit(model, "the cat sat on", edit)
    post = result.before["blocks.0.mlp.post"]
    assert torch.equal(result.after["blocks.0.mlp.post"], 2 * post + 1)
    later = result.after.explain("blocks.0.mlp.mlp_out[pos=3,d_model=0]")
    assert later.agrees
    read = [o.value for o in later.operand_groups["fwd/blocks.0.mlp.post"]]
    assert read == (2 * post[3] + 1).tolist()
    assert later.value != result.before["blocks.0.mlp.mlp_out[pos=3,d_model=0]"].item()


def test_a_watched_batch_of_texts_names_each_and_gives_what_each_alone_gives():
    model, _ = gf.load("worked_example")
    texts = ["the cat sat", "the cat on"]
    trace = model.watch(texts)
    assert trace.labels["batch"] == texts
    for text, logits in zip(texts, trace["logits"], strict=True):
        # sums of four products of numbers near 1, perhaps in another order
        torch.testing.assert_close(logits, model.watch(text)["logits"], rtol=0, atol=1e-6)
    with pytest.raises(gf.GlassformerError, match=r"have 2 and 3 tokens.* texts of one length"):
        model.watch(["the cat", "the cat sat"])
