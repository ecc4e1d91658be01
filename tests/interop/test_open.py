"""A model by its name: folder, preset, or a model on the hub; what is not there is said plainly."""

import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors
from safetensors.torch import load_file, save_file

import glassformer as gf
from glassformer.errors import GlassformerError
from glassformer.interop import hub, load
from glassformer.interop import open as opening
from glassformer.interop.folder import save
from glassformer.interop.open import config_of, reads_text
from glassformer.model import Config, build_preset, load_preset
from glassformer.training.train_state import open_run
from tests.interop.models import ODD, random_ids, random_model, same_weights

NAME = "some-owner/some-model"
HUB_NAME = f"hf:{NAME}"


def test_public_names_are_these():
    assert gf.load is load
    assert gf.save is save


def test_folder_is_opened_by_path_or_by_name(tmp_path):
    model = random_model(ODD)
    save(model, None, tmp_path / "run")
    for name in (tmp_path / "run", str(tmp_path / "run")):
        opened, _ = load(name)
        assert same_weights(opened, model)


def test_folder_goes_before_a_preset_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(random_model(ODD), None, "miniature")
    assert load("miniature")[0].config == ODD


def test_preset_with_weights_has_them():
    model, tokenizer = load("worked_example")
    declared = load_preset("worked_example")["weights"]["embed.W_E"]
    assert torch.equal(model.weights()["embed.W_E"], torch.tensor(declared))
    assert tokenizer is not None
    assert tokenizer.encode("The cat sat on mat dog") == [0, 1, 2, 3, 4, 5]


def test_a_model_without_a_tokenizer_is_refused_a_text_before_its_weights_are_read(tmp_path):
    save(random_model(ODD), None, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(GlassformerError, match="has no tokenizer, so it can't read a text"):
        open_run(str(tmp_path))
    assert [reads_text(name) for name in ("gpt3", "miniature", "worked_example")] == [
        False,
        True,
        True,
    ]


def test_preset_without_weights_is_the_same_each_time_and_leaves_the_random_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = load("miniature")[0], load("miniature")[0]
    assert torch.equal(torch.rand(3), expected)
    assert same_weights(first, second)
    assert not first.training


def test_preset_is_opened_in_the_dtype_asked_for():
    model, _ = load("worked_example", dtype=torch.float64)
    assert same_weights(model, build_preset("worked_example", torch.float64))


def test_preset_without_words_of_its_own_has_no_tokenizer(monkeypatch):
    small = {"model": ODD.to_dict(), "tokenizer": {"kind": "bpe", "vocab_size": 97}}
    monkeypatch.setattr(opening, "load_preset", lambda _: small)
    monkeypatch.setattr(opening, "build_preset", lambda *_: random_model(ODD))
    assert load("gpt2")[1] is None


def test_preset_larger_than_the_machine_is_refused_before_it_is_made():
    message = "weights of a model with 174,.* would take 698 GB, more than 80% of this machine"
    with pytest.raises(GlassformerError, match=message):
        load("gpt3")


def test_misspelt_preset_is_answered_with_the_nearest():
    with pytest.raises(GlassformerError, match=r"'minature'\. Did you mean 'miniature'\?"):
        load("minature")


def test_file_is_not_a_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(GlassformerError, match="is a file; give the folder that holds the model"):
        load(file)


@pytest.mark.parametrize(
    "name", ["./a/b", "/a/b", "a/b/c", "a\\b", "a/", "~/a", "runs/story", "a/b"]
)
def test_what_is_no_folder_is_said_without_asking_the_network(name, monkeypatch):
    monkeypatch.setattr(hub, "_download", lambda *_: pytest.fail("asked the hub"))
    for opened in (load, config_of):
        with pytest.raises(GlassformerError, match="there is no folder and no preset"):
            opened(name)


def test_mistyped_folder_is_answered_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(random_model(ODD), None, tmp_path / "runs/demo")
    with pytest.raises(GlassformerError, match=r"no preset 'runz/demo'. Did you mean 'runs/demo'"):
        load("runz/demo")


@pytest.mark.parametrize("name", ["gpt4", "GPT-4", "gpt-4o"])
def test_what_was_never_published_is_said_so(name):
    with pytest.raises(GlassformerError, match=f"the size of {name} is not published"):
        config_of(name)


# --- the hub --------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty local cache of the hub, with the network out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    return tmp_path / "cache"


def cached_snapshot(cache: Path) -> Path:
    """The folder in which the hub's library keeps a model."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_hub_model_in_the_local_cache_needs_no_network(cache):
    model = random_model(ODD)
    save(model, None, cached_snapshot(cache))
    assert same_weights(load(NAME)[0], model)
    assert config_of(NAME) == ODD


@pytest.mark.usefixtures("cache")
def test_hub_out_of_reach_is_said_plainly_with_what_to_do_instead():
    with pytest.raises(GlassformerError) as caught:
        load(HUB_NAME)
    message = str(caught.value)
    assert "\n" not in message
    assert f"'{NAME}' is not in the local cache" in message
    assert f"run `hf download {NAME} --local-dir FOLDER`, copy FOLDER here" in message


@pytest.mark.usefixtures("cache")
def test_only_text_safetensors_and_pieces_are_fetched(monkeypatch, tmp_path):
    asked = []

    def snapshot_download(name, *, allow_patterns, local_files_only=False):
        asked.append((name, local_files_only))
        harmless = (".json", ".safetensors", "merges.txt", "chat_template.jinja", ".spm")
        assert all(pattern.endswith(harmless) for pattern in allow_patterns)
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        save(random_model(ODD), None, tmp_path / "fetched")
        return str(tmp_path / "fetched")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load(HUB_NAME)[0].config == ODD
    assert asked == [(NAME, True), (NAME, False)]


def test_part_of_a_model_in_the_cache_is_completed(cache, monkeypatch, tmp_path):
    (cached_snapshot(cache) / "config.json").write_text("{}")
    real = huggingface_hub.snapshot_download

    def snapshot_download(name, **options):
        if options.get("local_files_only"):
            return real(name, **options)
        save(random_model(ODD), None, tmp_path / "fetched")
        return str(tmp_path / "fetched")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load(HUB_NAME)[0].config == ODD


@pytest.mark.usefixtures("cache")
def test_name_that_the_hub_does_not_know_is_said_plainly(monkeypatch):
    def snapshot_download(*_, local_files_only=False, **__):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        raise errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(GlassformerError, match=f"hub has no public model '{NAME}'"):
        load(HUB_NAME)


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(GlassformerError, match=r"pip install 'glassformer\[hub\]'"):
        load(HUB_NAME)


def test_hub_model_of_the_published_layout_loads(cache):
    """A GPT-2 as it lies on the hub: no prefix, masks among the weights, no note of ours."""
    snapshot = cached_snapshot(cache)
    model = random_model(ODD)
    save(model, None, snapshot)
    weights = load_file(snapshot / "model.safetensors")
    weights = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    weights |= {f"h.{i}.attn.bias": torch.ones(1, 1, 11, 11).tril() for i in range(3)}
    save_file(weights, snapshot / "model.safetensors")
    opened, _ = load(NAME)
    ids = random_ids(ODD)
    assert torch.equal(opened(ids), model(ids))


def test_config_of_reads_presets_and_folders(tmp_path):
    save(random_model(ODD), None, tmp_path / "run")
    assert opening.config_of(str(tmp_path / "run")) == ODD
    assert opening.config_of("gpt3") == Config.preset("gpt3")
    with pytest.raises(GlassformerError, match=r"Did you mean 'gpt3'\?"):
        opening.config_of("gtp3")
