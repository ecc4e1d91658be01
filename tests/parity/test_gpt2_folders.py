"""GPT-2 folders: theirs here and ours there, to the last digit that the dtype can promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Model

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate
from glassformer.interop.families import family
from glassformer.interop.folder import load_folder, save
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from tests.interop.models import ODD, configs, random_ids, random_model
from tests.parity.hugging_face import gpt2_model, open_theirs

# Both sum the same products in other orders; logits here are of size 1 to 10.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}

VARIANTS = {
    "odd sizes": {},
    "own width of the MLP": {"n_inner": 44},
    "one layer, one head": {"n_layer": 1, "n_head": 1},
    "untied": {"tie_word_embeddings": False},
    "gelu": {"activation_function": "gelu"},
    "gelu_pytorch_tanh": {"activation_function": "gelu_pytorch_tanh"},
    "gelu_fast": {"activation_function": "gelu_fast"},
    "relu": {"activation_function": "relu"},
    "silu": {"activation_function": "silu"},
    "tanh": {"activation_function": "tanh"},
    "sigmoid": {"activation_function": "sigmoid"},
    "larger epsilon": {"layer_norm_epsilon": 0.1},
    "upcast attention": {"reorder_and_upcast_attn": True},
}


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    assert ours.dtype == theirs.dtype
    return torch.allclose(ours, theirs, rtol=0, atol=TOLERANCE[ours.dtype])


def their_logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return open_theirs(folder)(ids).logits


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("variant", VARIANTS)
def test_folder_from_transformers_gives_the_same_logits_here(tmp_path, variant, dtype):
    theirs = gpt2_model(dtype, **VARIANTS[variant])
    theirs.save_pretrained(tmp_path)
    ours, tokenizer = load_folder(tmp_path)
    ids = random_ids(ours.config)
    with torch.no_grad():
        assert close(ours(ids), theirs(ids).logits)
    assert tokenizer is None


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "activation": "gelu"},
        {"activation": "relu", "d_mlp": 7, "norm_eps": 0.1},
        {"activation": "silu", "dropout": 0.5},
        {"norm_gain": False, "norm_bias": False},
        {"attn_bias": False, "mlp_bias": False, "tied": False},
        {"position": "sinusoidal"},
        {"position": "none"},
    ],
)
def test_our_folder_gives_the_same_logits_in_transformers(tmp_path, changes, dtype):
    ours = random_model(ODD.replace(**changes), dtype)
    save(ours, None, tmp_path)
    ids = random_ids(ODD)
    with torch.no_grad():
        assert close(ours(ids), their_logits(tmp_path, ids))


@settings(max_examples=12)
@given(configs(as_gpt2=True))
def test_any_configuration_within_gpt2_gives_the_same_logits_there(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("any")
    ours = random_model(config, torch.float64)
    save(ours, None, folder)
    ids = random_ids(config)
    with torch.no_grad():
        assert close(ours(ids), their_logits(folder, ids))


@settings(max_examples=12)
@given(
    st.fixed_dictionaries(
        {
            "vocab_size": st.integers(1, 50),
            "n_positions": st.integers(1, 9),
            "n_embd": st.just(12),
            "n_head": st.sampled_from([1, 2, 3, 4, 6, 12]),
            "n_layer": st.integers(1, 3),
            "n_inner": st.one_of(st.none(), st.integers(1, 30)),
            "activation_function": st.sampled_from(["gelu_new", "gelu", "relu", "silu", "swish"]),
            "tie_word_embeddings": st.booleans(),
        }
    )
)
def test_any_gpt2_from_transformers_gives_the_same_logits_here(tmp_path_factory, gpt2_settings):
    folder = tmp_path_factory.mktemp("any")
    theirs = gpt2_model(torch.float64, **gpt2_settings)
    theirs.save_pretrained(folder)
    ours, _ = load_folder(folder)
    ids = random_ids(ours.config)
    with torch.no_grad():
        assert close(ours(ids), theirs(ids).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_dtypes_are_read_without_rounding(tmp_path, dtype):
    theirs = gpt2_model(dtype)
    theirs.save_pretrained(tmp_path)
    ours, _ = load_folder(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {dtype}
    ids = random_ids(ours.config)
    with torch.no_grad():
        wide = load_folder(tmp_path, dtype=torch.float64)[0]
        assert close(wide(ids), theirs.to(torch.float64)(ids).logits)


def greedy(model: Decoder, ids: torch.Tensor, n: int) -> torch.Tensor:
    """Prompts [batch, pos] continued by n tokens each, with our own generation and its cache."""
    new = [list(generate(model, row, max_new_tokens=n, temperature=0)) for row in ids]
    return torch.cat([ids, torch.tensor(new)], 1)


def test_greedy_generation_is_equal_both_ways(tmp_path):
    theirs = gpt2_model(torch.float64, n_positions=24, bos_token_id=0, eos_token_id=None)
    theirs.save_pretrained(tmp_path / "theirs")
    ours, _ = load_folder(tmp_path / "theirs")
    prompts = random_ids(ours.config)[:, :3]
    wanted = {"max_new_tokens": 21, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(prompts)
    generated = theirs.generate(prompts, attention_mask=mask, **wanted)
    assert torch.equal(greedy(ours, prompts, 21), generated)
    save(ours, None, tmp_path / "ours")
    back = open_theirs(tmp_path / "ours").generate(prompts, attention_mask=mask, **wanted)
    assert torch.equal(back, generated)


def test_names_without_the_prefix_load_too(tmp_path):
    """As in the folder on the hub, which was saved from GPT2Model."""
    theirs = gpt2_model(torch.float64)
    GPT2Model.save_pretrained(theirs.transformer, tmp_path)
    assert "h.0.ln_1.weight" in load_file(tmp_path / "model.safetensors")
    ours, _ = load_folder(tmp_path)
    ids = random_ids(ours.config)
    with torch.no_grad():
        assert close(ours(ids), theirs(ids).logits)


def test_sharded_folder_from_transformers_loads(tmp_path):
    theirs = gpt2_model(torch.float64)
    theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours, _ = load_folder(tmp_path)
    ids = random_ids(ours.config)
    with torch.no_grad():
        assert close(ours(ids), theirs(ids).logits)


def test_model_that_went_there_and_back_is_the_same(tmp_path):
    """With its configuration, which their config.json carries along."""
    config = ODD.replace(norm_gain=False, mlp_bias=False)
    ours = random_model(config)
    save(ours, None, tmp_path / "ours")
    open_theirs(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back, _ = load_folder(tmp_path / "theirs")
    assert back.config == config
    for name, tensor in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_settings_of_the_real_gpt2_are_understood():
    """The config.json of openai-community/gpt2, as published."""
    published = {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": 50257,
    }
    assert family("gpt2").read_config(published) == Config.preset("gpt2").replace(dropout=0.1)


TEXTS = {
    "bpe": [
        "The cat sat on the mat.",
        " two  spaces\n\ttab",
        "naïve 日本語 🐈 \u0000",
        "<eos>",
        "",
    ],
    "chars": ["The cat sat on the mat.", " two  spaces\n\ttab", "naïve 日本語 🐈", "<eos>"],
    "words": ["the cat sat on a mat", "the dog saw the cat", "mat"],
}


@pytest.mark.parametrize("kind", TEXTS)
def test_our_tokenizer_encodes_alike_there_and_does_not_grow(tmp_path, kind):
    ours = Tokenizer.train(kind, ["the cat sat on the mat, the cat saw a red mat"] * 3)
    config = ODD.replace(vocab_size=ours.vocab_size)
    save(random_model(config), ours, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == ours.vocab_size
    assert theirs.eos_token_id == ours.eos_id
    for text in TEXTS[kind]:
        ids = ours.encode(text)
        assert theirs.encode(text, add_special_tokens=False) == ids, text
        assert theirs.decode(ids) == ours.decode(ids), text


def test_our_folder_writes_and_reads_text_there(tmp_path):
    """Model, tokenizer and generation settings together: text in, the same text out."""
    tokenizer = Tokenizer.train("words", ["the cat sat on the mat and the dog sat on the cat"])
    config = ODD.replace(vocab_size=tokenizer.vocab_size)
    ours = random_model(config, torch.float64)
    save(ours, tokenizer, tmp_path)
    theirs = open_theirs(tmp_path)
    encode = AutoTokenizer.from_pretrained(tmp_path)
    inputs = encode("the cat", return_tensors="pt")
    ids = torch.tensor([tokenizer.encode("the cat")])
    assert torch.equal(inputs["input_ids"], ids)
    generated = theirs.generate(**inputs, max_new_tokens=9, do_sample=False, eos_token_id=None)
    assert torch.equal(generated, greedy(ours, ids, 9))
    assert theirs.generation_config.eos_token_id == tokenizer.eos_id
    tokens = encode.convert_ids_to_tokens(generated[0])
    assert tokens == [tokenizer.token(token_id) for token_id in generated[0].tolist()]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights, _: [weights.pop(n) for n in list(weights) if ".h.2." in n],
        lambda weights, _: weights["transformer.h.0.mlp.c_fc.weight"][3].fill_(float("nan")),
        lambda _, settings: settings.update(n_layer=-1),
        lambda _, settings: settings.update(tie_word_embeddings=False),
    ],
    ids=["missing layer", "NaN", "negative layers", "no head"],
)
def test_what_transformers_accepts_silently_is_refused_here(tmp_path, spoil):
    """The reason for our checks: the very same folders load there."""
    gpt2_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    settings = json.loads((tmp_path / "config.json").read_text())
    spoil(weights, settings)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(settings))
    open_theirs(tmp_path)
    with pytest.raises(GlassformerError):
        load_folder(tmp_path)
