"""What is saved comes back, whole; a save that fails changes nothing."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glassformer.errors import GlassformerError
from glassformer.interop import tensors as tensors_module
from glassformer.interop.folder import load_folder, save
from glassformer.interop.match import form_for
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from tests.interop.models import ODD, configs, random_ids, random_model, same_weights

MODEL_FILES = ["config.json", "generation_config.json", "model.safetensors"]
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit_json(path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@settings(max_examples=25)
@given(configs())
def test_any_configuration_comes_back_exactly(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("any")
    model = random_model(config)
    save(model, None, folder)
    loaded, tokenizer = load_folder(folder)
    assert loaded.config == config
    assert same_weights(loaded, model)
    assert tokenizer is None
    family = json.loads((folder / "config.json").read_text())["model_type"]
    assert family == form_for(config).model_type


def test_equal_models_make_equal_files_byte_for_byte(tmp_path):
    model = random_model(ODD)
    for i in range(8):
        save(model, None, tmp_path / str(i))
    written = {(tmp_path / str(i) / "model.safetensors").read_bytes() for i in range(8)}
    assert len(written) == 1


@settings(max_examples=25)
@given(configs(as_gpt2=True))
def test_configuration_within_gpt2_is_written_as_gpt2_and_comes_back_unfolded(
    tmp_path_factory, config
):
    folder = tmp_path_factory.mktemp("gpt2")
    save(random_model(config), None, folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "gpt2"
    assert load_folder(folder)[0].config == config


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_weights_keep_their_dtype_unless_another_is_asked_for(tmp_path, dtype):
    model = random_model(ODD, dtype)
    save(model, None, tmp_path)
    loaded, _ = load_folder(tmp_path)
    assert same_weights(loaded, model)
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    wide, _ = load_folder(tmp_path, dtype=torch.float64)
    assert same_weights(wide, model.to(torch.float64))


def test_weights_of_several_dtypes_load_as_the_one_that_holds_them_all(tmp_path):
    save(random_model(ODD, torch.bfloat16), None, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["transformer.ln_f.weight"] = weights["transformer.ln_f.weight"].to(torch.float32)
    save_file(weights, tmp_path / "model.safetensors")
    assert {p.dtype for p in load_folder(tmp_path)[0].parameters()} == {torch.float32}


def test_sinusoidal_positions_are_computed_afresh_in_the_dtype_asked_for(tmp_path):
    config = ODD.replace(position="sinusoidal")
    save(random_model(config), None, tmp_path)
    wide, _ = load_folder(tmp_path, dtype=torch.float64)
    expected = random_model(config).to(torch.float64)
    ids = random_ids(config)
    assert torch.equal(wide(ids), expected(ids))


def test_loaded_model_does_not_drop_out(tmp_path):
    save(random_model(ODD.replace(dropout=0.5)), None, tmp_path)
    model, _ = load_folder(tmp_path)
    assert not model.training
    assert model.config.dropout == 0.5


def test_loaded_model_outlives_its_folder_and_can_be_trained(tmp_path):
    save(random_model(ODD), None, tmp_path)
    model, _ = load_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    ids = random_ids(ODD)
    model.loss(ids, ids).backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("kind", ["bpe", "chars", "words"])
def test_tokenizer_is_saved_and_loaded_with_its_model(tmp_path, kind):
    tokenizer = Tokenizer.train(kind, ["the cat sat on the mat"])
    config = ODD.replace(vocab_size=tokenizer.vocab_size + 3)
    save(random_model(config), tokenizer, tmp_path / "run")
    assert files(tmp_path / "run") == sorted(MODEL_FILES + TOKENIZER_FILES)
    _, loaded = load_folder(tmp_path / "run")
    assert loaded is not None
    assert loaded.fingerprint == tokenizer.fingerprint
    settings = json.loads((tmp_path / "run" / "generation_config.json").read_text())
    assert settings == {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}


def test_architectures_are_always_named(tmp_path):
    for name, config in {"a": ODD, "b": ODD.replace(norm_position="none")}.items():
        save(random_model(config), None, tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["architectures"]


def test_saving_into_a_run_replaces_the_model_and_keeps_the_rest(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}")
    save(random_model(ODD), None, tmp_path)
    second = random_model(ODD.replace(n_layers=2), seed=1)
    save(second, None, tmp_path)
    assert files(tmp_path) == sorted([*MODEL_FILES, "metrics.jsonl"])
    assert same_weights(load_folder(tmp_path)[0], second)


def test_parent_folders_are_made(tmp_path):
    save(random_model(ODD), None, tmp_path / "runs" / "story")
    assert files(tmp_path / "runs") == ["story"]


@pytest.mark.parametrize("present", [False, True])
def test_save_that_fails_midway_leaves_what_was_there(tmp_path, monkeypatch, present):
    folder = tmp_path / "run"
    first = random_model(ODD)
    if present:
        save(first, None, folder)

    def fill_the_disk(_tensors, path, **_):
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device")  # what it raises on a full disk

    monkeypatch.setattr(tensors_module, "save_file", fill_the_disk)
    with pytest.raises(GlassformerError, match=r"could not be written to .*: No space left"):
        save(random_model(ODD, seed=1), None, folder)
    if present:
        assert same_weights(load_folder(folder)[0], first)
        assert files(folder) == MODEL_FILES
    else:
        assert files(tmp_path) == []


def test_everything_is_on_the_disk_before_anything_gets_its_name(tmp_path, monkeypatch):
    events = []
    rename, fsync = type(tmp_path).rename, os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(name_of(fd)), fsync(fd))[1])
    monkeypatch.setattr(
        type(tmp_path), "rename", lambda self, to: (events.append("named"), rename(self, to))[1]
    )

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    save(random_model(ODD), None, tmp_path / "run")
    before, after = events[: events.index("named")], events[events.index("named") + 1 :]
    assert set(MODEL_FILES) <= set(before)
    assert after == [tmp_path.name]


def test_model_with_non_finite_weights_is_not_saved(tmp_path):
    model = random_model(ODD)
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.W_in")[2, 3] = float("inf")
    with pytest.raises(GlassformerError, match=r"blocks\.1\.mlp\.W_in holds inf at \[2, 3\]"):
        save(model, None, tmp_path / "run")
    assert files(tmp_path) == []


def test_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    tokenizer = Tokenizer.train("bpe", ["the cat"])
    model = random_model(ODD)
    with pytest.raises(
        GlassformerError, match=r"tokenizer has 25\d tokens and the model is for 97"
    ):
        save(model, tokenizer, tmp_path / "run")
    save(model, None, tmp_path)
    tokenizer.save(tmp_path)
    with pytest.raises(
        GlassformerError, match=r"tokenizer\.json has 25\d tokens and .*config\.json"
    ):
        load_folder(tmp_path)


def test_note_that_another_program_has_overtaken_no_longer_holds(tmp_path):
    """A program may train the folded biases and keep our note about a model without any."""
    config = ODD.replace(attn_bias=False, mlp_bias=False)
    save(random_model(config), None, tmp_path)
    assert load_folder(tmp_path)[0].config == config
    weights = load_file(tmp_path / "model.safetensors")
    weights["transformer.h.2.mlp.c_fc.bias"][5] = 0.25
    save_file(weights, tmp_path / "model.safetensors")
    loaded, _ = load_folder(tmp_path)
    assert loaded.config == ODD
    assert loaded.get_parameter("blocks.2.mlp.b_in")[5] == 0.25


def test_note_gives_way_to_settings_that_were_changed_beside_it(tmp_path):
    save(random_model(ODD.replace(norm_gain=False)), None, tmp_path)
    edit_json(tmp_path / "config.json", activation_function="relu", resid_pdrop=0.5)
    assert load_folder(tmp_path)[0].config == ODD.replace(activation="relu", dropout=0.5)


def test_dropout_changed_beside_the_note_is_taken_over(tmp_path):
    config = ODD.replace(norm_gain=False)
    save(random_model(config), None, tmp_path)
    edit_json(tmp_path / "config.json", resid_pdrop=0.5)
    assert load_folder(tmp_path)[0].config == config.replace(dropout=0.5)


def test_weights_may_lie_in_several_files(tmp_path):
    model = random_model(ODD)
    save(model, None, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    parts = {"a.safetensors": list(weights)[::2], "b.safetensors": list(weights)[1::2]}
    for file, names in parts.items():
        save_file({name: weights[name] for name in names}, tmp_path / file)
    index = {name: file for file, names in parts.items() for name in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert same_weights(load_folder(tmp_path)[0], model)


def test_saving_changes_nothing_in_the_model(tmp_path):
    model = Decoder(Config.preset("miniature"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(model, None, tmp_path)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_save_killed_at_any_moment_leaves_a_model_that_loads(tmp_path):
    """And what the killed saves left behind is cleared by the next one that ends."""
    folder = tmp_path / "run"
    models = [random_model(ODD, seed=seed) for seed in range(2)]
    save(models[0], None, folder)
    delays = random.Random(0)
    for _ in range(12):
        child = os.fork()
        if child == 0:
            while True:
                for model in models:
                    save(model, None, folder)
        time.sleep(delays.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded, _ = load_folder(folder)
        assert any(same_weights(loaded, model) for model in models)
    save(models[1], None, folder)
    assert files(folder) == MODEL_FILES
    assert same_weights(load_folder(folder)[0], models[1])
