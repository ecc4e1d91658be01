"""What training can change: no step learns, every other neuron does; one part alone, or all."""

from pathlib import Path

import pytest
import torch

import glassformer as gf
from glassformer.interop.open import config_of, load
from glassformer.training.choices import Choices
from glassformer.training.loop import Loop, train
from glassformer.training.prepare import new_run, resumed_run
from glassformer.training.replay import state_at
from glassformer.training.trainable import TRAINABLE
from tests.training.small import weights_equal

NEURON = "bwd/blocks.0.mlp.pre[pos=1,d_mlp=2]"
HEAD_WEIGHT = "opt/unembed.W_U[d_model=0,vocab=1]"


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


STORY = "The cat sat on the mat. The dog ran in the park. The cat liked the mat. " * 2
SMALL = ("--n-ctx", "8", "--d-model", "8", "--steps", "6", "--seed", "1")


@pytest.fixture
def story(tmp_path, monkeypatch) -> str:
    """The name of a text in a folder of its own, which commands are given in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "story.txt").write_text(STORY)
    return "story.txt"


@pytest.mark.parametrize("activation", TRAINABLE)
def test_a_run_has_the_activation_function_that_was_asked_for(activation, story, glassformer):
    code, _, _ = glassformer("train", story, *SMALL, "--activation", activation, "--out", "run")
    assert code == 0
    assert config_of("run").activation == activation
    code, shown, _ = glassformer("explain", "run", "The cat sat", NEURON)
    assert code == 0
    assert "agrees" in shown


def test_a_step_is_refused_by_the_command_before_anything_is_trained(story, glassformer):
    code, _, said = glassformer("train", story, "--activation", "step", "--out", "run")
    assert code == 2
    assert "the slope of a step is 0" in said
    assert said.count("\n") == 1
    assert not Path("run/run.json").exists()
    Path("options.toml").write_text('text = ["story.txt"]\nactivation = "bent"\n')
    code, _, said = glassformer("train", "--config", "options.toml", "--out", "run")
    assert code == 2
    assert "activation='bent' is none of relu" in said


def test_the_output_head_alone_is_trained_from_the_first_step_on(story, glassformer):
    code, shown, _ = glassformer("train", story, *SMALL, "--only", "unembed", "--out", "head")
    assert code == 0
    begun, trained = (state_at(Path("head"), step).model.state_dict() for step in (0, 6))
    changed = {name for name, weight in trained.items() if not torch.equal(weight, begun[name])}
    assert changed == {"unembed.W_U"}
    n = trained["unembed.W_U"].numel()
    assert f"of which {n:,} are trained" in shown
    opened, _ = load("head")
    assert all(torch.equal(weight, trained[name]) for name, weight in opened.state_dict().items())
    code, shown, _ = glassformer("step", "head", "The cat sat", "--target", "on")
    assert code == 0
    assert "unembed.W_U" in shown
    assert "blocks.0.mlp.W_in" not in shown
    code, shown, _ = glassformer("explain", "head", "The cat sat", HEAD_WEIGHT)
    assert code == 0
    assert "agrees" in shown


def test_a_run_whose_head_alone_is_trained_goes_on_bit_for_bit(story, tmp_path):
    recipe = {"steps": 6, "save_every": 3, "only": ["unembed"]}
    choices = Choices(texts=(story,), model={"n_ctx": 8}, recipe=recipe)
    straight, halved = (new_run(tmp_path / name, choices) for name in ("whole", "halved"))
    with straight.run, halved.run:
        train(straight.model, straight.data, straight.recipe, run=straight.run)
        loop = Loop(halved.model, halved.data, halved.recipe, halved.run)
        loop.go(lambda: loop.step == 3)
    resumed = resumed_run(tmp_path / "halved")
    with resumed.run:
        train(resumed.model, resumed.data, resumed.recipe, run=resumed.run)
    assert weights_equal(resumed.model, straight.model)


def test_a_part_of_a_trained_model_is_trained_further_and_others_are_refused(story, glassformer):
    assert glassformer("train", story, *SMALL, "--out", "run")[0] == 0
    further = ("train", story, "--from", "run", "--steps", "3")
    assert glassformer(*further, "--only", "blocks.0.mlp,ln_final", "--out", "part")[0] == 0
    before, after = (load(name)[0].state_dict() for name in ("run", "part"))
    kept = {name for name, weight in after.items() if torch.equal(weight, before[name])}
    assert kept == {name for name in after if not name.startswith(("blocks.0.mlp", "ln_final"))}
    for options, word in (
        (["--only", "unembed"], "is its embedding table turned over (tied)"),
        (["--only", "ln_fnal"], "Did you mean 'ln_final'?"),
        (["--only", "head"], "Its parts are embed, ln_final, pos_embed, blocks.N.attn"),
        (["--only", " ,"], "--only names no part"),
        (["--only", "embed", "--lora", "2"], "leave --only out"),
        (["--only", "embed", "--shard"], "leave --shard out"),
    ):
        code, _, said = glassformer(*further, *options, "--out", "none")
        assert code == 2
        assert word in said
