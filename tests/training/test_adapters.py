"""`glassformer train --lora`: a run of adapters beside a model that stays as it is."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.interop.folder import save
from glassformer.interop.open import config_of, load
from glassformer.model.parts import Lora
from glassformer.training.checkpoint import load_checkpoint
from glassformer.training.choices import Choices
from glassformer.training.loop import Loop
from glassformer.training.prepare import new_run, resumed_run
from glassformer.training.replay import state_at
from tests.training.small import finished, weights_equal

TEXT = "the cat sat on the mat and the dog sat on the log. " * 40
MODEL = {"n_ctx": 16, "d_model": 8, "n_layers": 2, "n_heads": 2}
RECIPE = {"steps": 6, "batch_size": 2, "eval_every": 3, "save_every": 3, "warmup_steps": 1}
ON = ("W_K", "W_V", "W_O", "W_in")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, the run `base` on it, and the run `adapted` beside that."""
    folder = tmp_path_factory.mktemp("adapters")
    (folder / "text.txt").write_text(TEXT)
    texts = (str(folder / "text.txt"),)
    base = Choices(texts=texts, tokenizer="chars", model=MODEL, recipe=RECIPE, preset="text")
    finished(new_run(folder / "base", base))
    finished(new_run(folder / "adapted", choices(folder)))
    return folder


def choices(folder: Path, **more: object) -> Choices:
    options = {"lora": Lora(rank=2, alpha=4.0, on=ON), "recipe": {**RECIPE, "lr": 1e-2}, **more}
    return Choices(texts=(str(folder / "text.txt"),), start_from=str(folder / "base"), **options)


def test_a_run_keeps_its_adapters_alone_and_the_model_stays_as_it_was(folder):
    run = folder / "adapted"
    assert not (run / "config.json").exists()
    assert not (run / "model.safetensors").exists()
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in run.iterdir()}
    saved = load_checkpoint(run / "checkpoints" / "step-000006")
    assert all(".lora_" in name for names in saved.tensors.values() for name in names)
    base, model = load(folder / "base")[0], load(run)[0]
    assert config_of(run) == model.config
    ours = model.state_dict()
    assert all(torch.equal(w, ours[name]) for name, w in base.state_dict().items())
    assert all(ours[name].any() for name in ours if ".lora_" in name), "each has learned"
    assert weights_equal(model, state_at(run, 6).model)


def test_a_stopped_run_goes_on_bit_for_bit(folder, tmp_path):
    recipe = {**RECIPE, "lr": 1e-2, "snapshots": 3}
    stopped = new_run(tmp_path / "stopped", choices(folder, recipe=recipe))
    with stopped.run:
        loop = Loop(stopped.model, stopped.data, stopped.recipe, stopped.run)
        loop.go(lambda: loop.step == 3)
    resumed = finished(resumed_run(tmp_path / "stopped"))
    assert weights_equal(resumed.model, load(folder / "adapted")[0].train())
    assert weights_equal(state_at(tmp_path / "stopped", 4).model, replayed(folder, 4))


def replayed(folder: Path, step: int) -> Any:
    return state_at(folder / "adapted", step).model


def test_a_begun_run_without_a_checkpoint_begins_again(folder, tmp_path):
    begun = new_run(tmp_path / "begun", choices(folder))
    begun.run.close()
    resumed = finished(resumed_run(tmp_path / "begun"))
    assert weights_equal(resumed.model, load(folder / "adapted")[0])


def test_adapters_move_with_their_model_and_miss_it_by_name(folder, tmp_path):
    both = tmp_path / "elsewhere"
    for name in ("base", "adapted"):
        shutil.copytree(folder / name, both / name)
    path = both / "adapted" / "adapter_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "base_model_name_or_path": "/gone/base"}))
    assert weights_equal(load(both / "adapted")[0], load(folder / "adapted")[0])
    shutil.rmtree(both / "base")
    with pytest.raises(GlassformerError, match=r"for the model in .*gone.*base, which is not"):
        load(both / "adapted")


def test_adapters_of_a_model_that_was_trained_since_are_refused(folder, tmp_path):
    for name in ("base", "adapted"):
        shutil.copytree(folder / name, tmp_path / name)
    path = tmp_path / "adapted" / "adapter_config.json"
    settings = json.loads(path.read_text())
    base = str(tmp_path / "base")
    path.write_text(json.dumps({**settings, "base_model_name_or_path": base}))
    model, tokenizer = load(base)
    with torch.no_grad():
        model.embed.W_E[0, 0] += 1

    save(model, tokenizer, base)
    with pytest.raises(GlassformerError, match="has changed since the adapters"):
        load(tmp_path / "adapted")


@pytest.mark.heavy
def test_every_field_of_an_adapters_configuration_that_is_of_another_type_is_refused_in_one_line(
    folder, tmp_path
):
    shutil.copytree(folder / "adapted", tmp_path / "adapted")
    path = tmp_path / "adapted" / "adapter_config.json"
    text = path.read_text()
    for name in json.loads(text):
        for value in (3, "x", [1], {"a": [1]}, True, 10**4000, 1e400):
            path.write_text(
                json.dumps({**json.loads(text), name: value}).replace("Infinity", "1e400")
            )
            with contextlib.suppress(GlassformerError):
                load(tmp_path / "adapted")
    for name in ("lora_alpha", "alpha_pattern"):
        for value in ("x", [1], 10**4000):
            path.write_text(json.dumps({**json.loads(text), name: value}))
            with pytest.raises(GlassformerError, match="must be"):
                load(tmp_path / "adapted")


def test_the_commands_use_adapters(folder, tmp_path, glassformer):
    run, merged = str(folder / "adapted"), str(tmp_path / "merged")
    code, shown, _ = glassformer(
        "explain", run, "the cat", "opt/blocks.0.attn.lora_V.A[d_model=1,d_lora=1]"
    )
    assert code == 0
    assert "agrees" in shown
    assert glassformer("ask", run, "the cat")[0] == 0
    code, shown, _ = glassformer("lab", "attribution", run, "the cat")  # of an adapted W_O
    assert code == 0
    assert float(re.findall(r"difference +(\S+)", shown)[0]) < 1e-5  # fp32 beside float64
    code, shown, _ = glassformer("export", run, merged)
    assert code == 0
    assert "merged into the weights" in shown
    ids = torch.tensor([[1, 2, 3, 4]])
    assert (load(merged)[0](ids) - load(run)[0](ids)).abs().max() < 1e-5  # fp32, other sums
    code, shown, _ = glassformer("params", run)
    assert code == 0
    assert "key adapter A" in shown
    for options, word in (
        (["--lora", "2"], "--from FOLDER"),
        (["--lora", "2", "--from", str(folder / "base"), "--shard"], "leave --shard out"),
        (["--lora-on", "W_Q", "--from", run], "give their rank by --lora"),
        (["--lora", "2", "--from", run], "has adapters already"),
        (["--lora", "2", "--from", run, "--lora-on", "W_X"], "--lora-on 'W_X' is none of W_Q"),
    ):
        code, _, said = glassformer("train", *options, "--out", str(tmp_path / "none"))
        assert code == 2
        assert word in said
