"""Shares add up to the logit; the lens at the last layer is the model itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import GlassformerError
from glassformer.lab.changes import watch_text
from glassformer.lab.edits import without_head, without_layer
from glassformer.lab.logit_attribution import attribute
from glassformer.lab.logit_lens import guesses_bytes, logit_lens, record_guesses
from tests.model.towers import random_pair, random_towers
from tests.model.variety import config_of, configs, random_ids, random_model


@settings(max_examples=15)
@given(configs(), st.integers(0, 99), st.data())
def test_the_shares_add_up_to_the_recorded_logit(config, seed, data):
    model, ids = random_model(config, seed), random_ids(config, seed, batch=1)
    trace = model.watch(ids)
    token = data.draw(st.integers(0, config.vocab_size - 1))
    pos = data.draw(st.integers(0, ids.shape[1] - 1))
    result = attribute(config, trace, token, pos)
    assert result.logit == trace[result.address].item()
    # float64 all through; the shares may be far larger than their sum
    size = 1 + sum(abs(share.logits) for share in result.shares)
    assert abs(result.total - result.logit) < 1e-12 * size


def test_shares_that_do_not_add_up_to_the_logit_are_refused():
    """As where a model has a part between attention and logit that attribution does not know."""
    config = config_of("gpt2")
    model, ids = random_model(config.replace(branch_scale=1.5), 0), random_ids(config, 0, batch=1)
    with pytest.raises(GlassformerError, match="is a value that attribution does not know"):
        attribute(config, model.watch(ids))


def test_every_part_has_its_share_and_its_address():
    config = config_of("gpt2").replace(head_bias=True)
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    trace = model.watch(ids)
    result = attribute(config, trace, 3)
    assert [share.part for share in result.shares] == [
        "token embedding",
        "position",
        *(
            f"layer {layer} {part}"
            for layer in (0, 1)
            for part in ("head 0", "head 1", "head 2", "attention bias", "MLP")
        ),
        "final norm's bias",
        "unembedding's bias",
    ]
    for share in result.shares:
        assert trace[share.address].numel() > 0
    assert result.pos == ids.shape[1] - 1


@pytest.mark.parametrize(
    ("kind", "norms"),
    [
        ("fast", []),
        ("like bloom", ["embedding norm's bias", "final norm's bias"]),
        ("like gemma", []),
        ("like olmo", []),
        (
            "post-norm",
            [f"layer {i} {branch} norm's bias" for i in (0, 1) for branch in ("attention", "MLP")]
            + ["final norm's bias"],
        ),
        (
            "normed embedding",
            ["embedding norm's bias"]
            + [f"layer {i} {branch} norm's bias" for i in (0, 1) for branch in ("attention", "MLP")]
            + ["final norm's bias"],
        ),
    ],
)
def test_norms_between_a_part_and_the_logit_are_linear_with_their_scales(kind, norms):
    """Norms of embeddings, on branches and after additions add no part but their biases."""
    config = config_of(kind)
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    for pos in (0, -1):
        result = attribute(config, model.watch(ids), 3, pos)
        # float64, sums of some ten numbers of size 1
        assert result.total == pytest.approx(result.logit, abs=1e-12)
        assert [s.part for s in result.shares if s.part.endswith("norm's bias")] == norms


def test_a_share_is_what_the_logit_loses_where_no_norm_stands_between():
    config = config_of("no norms").replace(n_layers=1)
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    trace = model.watch(ids)
    mlp = next(s for s in attribute(config, trace, 2).shares if s.part == "layer 0 MLP")
    without = model.watch(ids, edit={"blocks.0.mlp.mlp_out": 0.0})
    last = ids.shape[1] - 1
    lost = (trace["logits"] - without["logits"])[last, 2].item()
    # float64, sums of some ten numbers of size 1
    assert mlp.logits == pytest.approx(lost, abs=1e-12)


def test_shares_of_an_edited_pass_add_up_too():
    config = config_of("gpt2")
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    edits = {**without_head(config, 0, 1), "weight/embed.W_E[vocab=2]": 0.5}
    result = attribute(config, model.watch(ids, edit=edits), 2)
    assert result.total == pytest.approx(result.logit, abs=1e-12)
    assert next(s.logits for s in result.shares if s.part == "layer 0 head 1") == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("like olmo", "blocks.0.ln1_post.normalized"),
        ("like olmo", "blocks.1.mlp_scaled"),
        ("like bloom", "ln_embed.normalized"),
        ("post-norm", "blocks.0.ln2.normalized"),
        ("like neox", "final_scaled"),
    ],
)
def test_an_edited_norm_on_the_way_is_refused(kind, value):
    config = config_of(kind)
    edited = random_model(config, 0).watch(random_ids(config, 0, batch=1), edit={value: 0.5})
    with pytest.raises(GlassformerError, match=f"fwd/{value} was edited"):
        attribute(config, edited, 0)


def test_what_does_not_add_up_is_refused():
    config = config_of("gpt2")
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    edited = model.watch(ids, edit=without_layer(config, 1))
    with pytest.raises(GlassformerError, match=r"attn_out was edited, .* a neuron \(mlp\.post\)"):
        attribute(config, edited, 0)
    with pytest.raises(GlassformerError, match="there is no position 7"):
        attribute(config, model.watch(ids), 0, 7)
    with pytest.raises(GlassformerError, match="there is no token 11"):
        attribute(config, model.watch(ids), 11)


@settings(max_examples=12)
@given(configs(), st.integers(0, 99))
def test_the_lens_at_the_last_layer_is_the_models_own_prediction(config, seed):
    model, ids = random_model(config, seed), random_ids(config, seed, batch=1)
    trace = model.watch(ids)
    glimpses = logit_lens(model, trace)
    assert len(glimpses) == config.n_layers + 1
    # the same ops on the same numbers
    assert torch.equal(
        glimpses[-1].probs, trace["fwd/probs[batch=0]"].reshape(-1, config.vocab_size)
    )


@pytest.mark.parametrize("kind", ["gpt2", "sinusoidal", "no norms", "post-norm"])
def test_every_number_of_the_lens_is_explained(kind):
    model = random_model(config_of(kind), 0)
    trace = model.watch(random_ids(model.config, 0, batch=1))
    plain = len(trace.computed)
    glimpse = logit_lens(model, trace)[1]
    for step in trace.computed[plain:]:
        at = ",".join(f"{axis}={n - 1}" for axis, n in zip(step.axes, step.shape, strict=True))
        explanation = trace.explain(f"{step.path}[{at}]")
        assert explanation.agrees
        assert explanation.operands
    assert trace[f"{glimpse.address}[pos=1,vocab=2]"] == glimpse.probs[1, 2]


def test_looking_twice_records_once():
    model = random_model(config_of("gpt2"), 0)
    trace = model.watch(random_ids(model.config, 0, batch=1))
    first = logit_lens(model, trace)
    n = len(trace.computed)
    assert torch.equal(logit_lens(model, trace)[0].probs, first[0].probs)
    assert len(trace.computed) == n


def test_the_smallest_text_can_be_looked_at_and_attributed():
    config = config_of("smallest")
    model = random_model(config, 0)
    trace = watch_text(model, random_ids(config, 0, batch=1))
    assert logit_lens(model, trace)[-1].probs.tolist() == [[1.0]]
    result = attribute(config, trace, 0)
    assert result.total == pytest.approx(result.logit, abs=1e-12)


@settings(max_examples=12)
@given(configs(), st.integers(0, 99), st.data())
def test_a_guess_is_what_the_model_says_with_everything_behind_it_switched_off(config, seed, data):
    model, ids = random_model(config, seed), random_ids(config, seed, batch=1)
    trace = model.watch(ids)
    record_guesses(model, trace)
    layer = data.draw(st.integers(0, config.n_layers - 1))
    after_mlp = data.draw(st.booleans())
    off = {
        f"blocks.{i}.{part}": 0.0 for i in range(layer + 1, config.n_layers) for part in BRANCHES
    }
    if not after_mlp:
        off |= {f"blocks.{layer}.mlp.mlp_out": 0.0}
    if config.norm_position == "post":
        off = {}  # there a switched-off branch is still normed: only the end is the model's own
        layer, after_mlp = config.n_layers - 1, True
    stopped = model.watch(ids, edit=off)["fwd/probs[batch=0]"].reshape(-1, config.vocab_size)
    point = f"lens.blocks.{layer}.resid_{'post' if after_mlp else 'mid'}"
    tokens, probs = trace[f"{point}.best_token[batch=0]"], trace[f"{point}.best_prob[batch=0]"]
    assert torch.equal(stopped.argmax(-1), tokens.reshape(-1))
    # float64, the same sums
    assert torch.allclose(stopped.amax(-1), probs.reshape(-1), rtol=1e-12, atol=0)


BRANCHES = ("attn.attn_out", "mlp.mlp_out")


def test_a_guess_is_read_with_the_weights_of_an_edited_pass():
    config = config_of("gpt2")
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    edits = {"weight/ln_final.w[d_model=1]": 3.0, "weight/embed.W_E[vocab=2]": 0.5}
    trace = model.watch(ids, edit=edits)
    record_guesses(model, trace)
    off = {f"blocks.{layer}.{part}": 0.0 for layer in (0, 1) for part in BRANCHES}
    stopped = model.watch(ids, edit={**edits, **off})
    for name in ("mid", "post"):
        read = trace[f"lens.blocks.1.resid_{name}.best_prob"]
        assert trace.explain(f"lens.blocks.1.resid_{name}.best_token[pos=0]").agrees
        assert read.shape == stopped["probs"].amax(-1).shape
    begun = trace["lens.blocks.0.resid_pre.best_prob"]
    assert torch.allclose(begun, stopped["probs"].amax(-1), rtol=1e-12, atol=0)


class Unexchanged(dict):
    """A module's parameters; other threads that watch the same model read them meanwhile."""

    def __setitem__(self, name, value):
        raise AssertionError(f"{name} was exchanged")


@pytest.mark.parametrize("kind", ["gpt2", "fast", "no norms"])
def test_reading_early_never_touches_the_model_that_others_are_reading(kind):
    config = config_of(kind)
    model, ids = random_model(config, 0), random_ids(config, 0, batch=1)
    trace = model.watch(ids)
    for module in model.modules():
        module.__dict__["_parameters"] = Unexchanged(module._parameters)
    record_guesses(model, trace)
    assert torch.equal(trace["lens.blocks.1.resid_post.best_prob"], trace["probs"].amax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["gpt2", "fast", "no norms"])
def test_the_lens_says_beforehand_how_much_it_will_hold(kind, dtype):
    config = config_of(kind).replace(vocab_size=2000)
    model, ids = random_model(config, 0).to(dtype), random_ids(config, 0, batch=1)
    trace = model.watch(ids)
    before = trace.nbytes
    record_guesses(model, trace)
    held = trace.nbytes - before
    said = guesses_bytes(config, ids.shape[1], dtype.itemsize)
    # it counts a norm, there or not, and leaves out what has one number to a token
    assert abs(said - held) < 0.02 * held


def test_the_lens_of_two_towers_says_beforehand_how_much_it_will_hold():
    model = random_towers("like marian")
    decoder = model.config.decoder
    ids, _, source = random_pair()
    trace = model.watch(ids[:1], source=source[:1])
    before = trace.nbytes
    record_guesses(model, trace)
    held = trace.nbytes - before
    points = 3 * decoder.n_layers  # the start and three additions a block, but for the last
    no_norm = 8 * points * ids.shape[1] * 5 * decoder.d_model  # this decoder ends in none
    small = 8 * (points + 1) * ids.shape[1] * 6  # the largest, the sum, the guess and their like
    said = guesses_bytes(model.config, ids.shape[1], 8) - no_norm
    assert said <= held <= said + small
