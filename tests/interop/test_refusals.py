"""Folders that are wrong are refused by the name of the tensor, setting or file that is at fault.

`transformers` loads several of these without a word: missing layers, a missing head, a transposed
square matrix, NaN weights, a negative number of layers.
"""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertConfig, BertModel

from glassformer.errors import GlassformerError
from glassformer.interop import families
from glassformer.interop.folder import load_folder, read_config, save
from glassformer.model import Config, TowersConfig
from glassformer.text.tokenizer import Tokenizer
from tests.examples import examples
from tests.interop.models import ODD, random_model

BLOCK = "transformer.h.1"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A whole GPT-2 folder, as other programs write it: no note of ours."""
    save(random_model(ODD), None, tmp_path)
    edit(tmp_path, glassformer=None)
    rewrite(tmp_path, lambda weights: None)
    return tmp_path


def edit(folder: Path, **settings) -> None:
    """Change settings in config.json; None takes one out."""
    path = folder / "config.json"
    changed = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights as another program would: without our digests."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


def rewrite_keeping_header(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]):
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    weights = load_file(path)
    change(weights)
    save_file({n: t.contiguous() for n, t in weights.items()}, path, metadata=metadata)


def refusal(folder: Path) -> str:
    """The message with which a folder is refused: one line, from which the folder is left out."""
    with pytest.raises(GlassformerError) as caught:
        load_folder(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "").replace(str(folder), "FOLDER")


def test_whole_folder_is_accepted(folder):
    assert load_folder(folder)[0].config == ODD


# --- what the file of weights holds ---------------------------------------------------------------


def test_missing_layer_is_refused(folder):
    rewrite(folder, lambda w: [w.pop(n) for n in list(w) if ".h.2." in n])
    assert refusal(folder).startswith(
        "config.json says 3 layers and the weights in FOLDER are of 2"
    )


def test_layer_missing_in_the_middle_is_named(folder):
    rewrite(folder, lambda w: [w.pop(n) for n in list(w) if ".h.1." in n])
    assert refusal(folder).startswith(f"FOLDER lacks {BLOCK}.ln_1.weight and 11 other tensors")


def test_layer_too_many_is_refused(folder):
    edit(folder, n_layer=2)
    assert "says 2 layers and the weights in FOLDER are of 3" in refusal(folder)


def test_layers_under_the_names_of_another_wrapping_are_refused_by_the_name_that_is_there(
    folder: Path,
) -> None:
    def rename(weights: dict[str, torch.Tensor]) -> None:
        for name in [*weights]:
            new = name.replace("transformer.", "model.language_model.")
            weights[new] = weights.pop(name)

    rewrite(folder, rename)
    said = refusal(folder)
    assert "model.language_model.h." in said
    assert "is not named as a layer's tensor of the family gpt2" in said


@pytest.mark.parametrize("name", ["transformer.wte.weight", f"{BLOCK}.mlp.c_fc.bias"])
def test_missing_tensor_is_named(folder, name):
    rewrite(folder, lambda w: w.pop(name))
    assert refusal(folder).startswith(f"FOLDER lacks {name};")


def test_untied_model_without_a_head_is_refused(folder):
    edit(folder, tie_word_embeddings=False)
    assert "tie_word_embeddings=false and FOLDER holds no lm_head.weight" in refusal(folder)


def test_tied_model_with_another_head_is_refused(folder):
    rewrite(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"] + 1}))
    assert "lm_head.weight in model.safetensors differs from it" in refusal(folder)


def test_tied_model_with_its_head_written_out_is_accepted(folder):
    rewrite(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"].clone()}))
    assert load_folder(folder)[0].config == ODD


def test_an_encoder_without_its_head_is_refused_by_its_own_words(tmp_path):
    config = BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    assert "is an encoder without the head that says which word is hidden" in refusal(tmp_path)


def test_unknown_tensor_is_named(folder):
    rewrite(folder, lambda w: w.update({f"{BLOCK}.attn.q_norm.weight": torch.ones(6)}))
    assert refusal(folder).startswith(f"{BLOCK}.attn.q_norm.weight in model.safetensors is no")


def test_causal_masks_of_old_versions_are_passed_over(folder):
    mask = torch.ones(1, 1, 11, 11, dtype=torch.bool).tril()
    buffers = {f"{BLOCK}.attn.bias": mask, f"{BLOCK}.attn.masked_bias": torch.tensor(-1e4)}
    rewrite(folder, lambda w: w.update(buffers))
    assert load_folder(folder)[0].config == ODD


def test_tensors_with_and_without_prefix_are_refused(folder):
    rewrite(folder, lambda w: w.update({"ln_f.weight": torch.ones(30)}))
    assert "both with and without the prefix 'transformer.'" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "actual", "needed"),
    [
        (f"{BLOCK}.attn.c_attn.weight", "[90, 30]", "[30, 90]"),
        (f"{BLOCK}.mlp.c_proj.weight", "[30, 44]", "[44, 30]"),
        ("transformer.wte.weight", "[30, 97]", "[97, 30]"),
    ],
)
def test_transposed_matrix_is_recognized_by_its_shape(folder, name, actual, needed):
    rewrite(folder, lambda w: w.update({name: w[name].T}))
    assert refusal(folder).startswith(
        f"{name} in model.safetensors is transposed: it is {actual} and must be {needed}"
    )


def test_square_matrix_transposed_after_we_wrote_it_is_recognized_by_its_digest(tmp_path):
    """From shape alone it can't be seen: only folders that we wrote carry digests."""
    save(random_model(ODD), None, tmp_path)
    name = f"{BLOCK}.attn.c_proj.weight"
    rewrite_keeping_header(tmp_path, lambda w: w.update({name: w[name].T}))
    assert refusal(tmp_path).startswith(
        f"{name} in model.safetensors does not hold the numbers that were written"
    )


def test_one_flipped_bit_is_noticed_and_its_tensor_named(tmp_path):
    save(random_model(ODD), None, tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    assert "does not hold the numbers that were written" in refusal(tmp_path)


def test_digest_covers_what_was_folded_in(tmp_path):
    save(random_model(ODD.replace(attn_bias=False)), None, tmp_path)
    name = f"{BLOCK}.attn.c_attn.bias"
    rewrite_keeping_header(tmp_path, lambda w: w.update({name: w[name] + 1}))
    assert refusal(tmp_path).startswith(f"{name} in model.safetensors does not hold")


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_non_finite_weight_is_named_with_its_place(folder, bad):
    def spoil(weights):
        weights[f"{BLOCK}.mlp.c_fc.weight"][7, 9] = float(bad)

    rewrite(folder, spoil)
    assert refusal(folder).startswith(
        f"{BLOCK}.mlp.c_fc.weight in model.safetensors holds {bad} at [7, 9] (1 of 1,320 numbers"
    )


def test_weights_whose_sum_overflows_are_finite_all_the_same(folder):
    rewrite(folder, lambda w: w[f"{BLOCK}.mlp.c_fc.weight"].fill_(3e38))
    assert load_folder(folder)[0].get_parameter("blocks.1.mlp.W_in").max() > 2.9e38


def test_whole_numbers_are_no_weights(folder):
    rewrite(
        folder, lambda w: w.update({"transformer.ln_f.bias": torch.zeros(30, dtype=torch.int8)})
    )
    assert "transformer.ln_f.bias in model.safetensors holds I8 numbers" in refusal(folder)


def test_wrong_shape_is_named_with_both_shapes(folder):
    edit(folder, vocab_size=98)
    assert refusal(folder).startswith(
        "transformer.wte.weight in model.safetensors is [97, 30] and by config.json it must be"
        " [98, 30]"
    )


# --- the file itself ------------------------------------------------------------------------------


def header(size: int, content: bytes) -> bytes:
    return struct.pack("<Q", size) + content


DAMAGED = {
    "empty": b"",
    "cut off in the length": b"\x00\x00",
    "header longer than the file": header(10**6, b"{}"),
    "header longer than any memory": header(2**63, b"{}"),
    "no JSON": header(4, b"{{{{"),
    "data that is not there": header(
        58, b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}    '
    ),
    "shape larger than its bytes": header(
        59, b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}     ' + bytes(4)
    ),
    "overlap": header(
        107,
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4),
    ),
    "shape that overflows": header(
        86,
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}} '
        + bytes(4),
    ),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_safetensors_file_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert refusal(folder).startswith("model.safetensors is no whole safetensors file (")


def test_a_pointer_of_git_lfs_is_called_so(folder):
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 28\n"
    )
    assert refusal(folder) == (
        "model.safetensors is a pointer of Git LFS and not the file itself; fetch it: git lfs pull"
    )


def test_file_cut_off_at_its_end_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(folder).startswith("model.safetensors is no whole safetensors file (")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "last.ckpt"])
def test_pickles_are_refused_unread(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    message = refusal(folder)
    assert message.startswith(f"FOLDER holds its weights only as {name}")
    assert "convert it to safetensors" in message


def test_pickle_beside_safetensors_is_not_touched(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80 not read")
    assert load_folder(folder)[0].config == ODD


def test_folder_without_weights_that_are_read_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert refusal(folder).startswith("FOLDER has no model.safetensors")
    (folder / "model.gguf").touch()
    assert "model.gguf, a form that is written here and not read" in refusal(folder)


def write_index(folder: Path, **weight_map: str) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("path", ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "x.bin"])
def test_index_can_name_files_of_its_folder_only(folder, path):
    write_index(folder, a=path)
    assert refusal(folder).startswith(f"model.safetensors.index.json names {path!r}")


def test_file_that_the_index_names_must_be_there(folder):
    write_index(folder, a="part.safetensors", b="part2.safetensors")
    assert "names part2.safetensors, which is not there" in refusal(folder)


def test_parts_without_their_index_are_told_from_a_folder_without_weights(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    assert refusal(folder) == (
        "FOLDER holds model-00001-of-00002.safetensors and no model.safetensors.index.json, which"
        " says what lies where; download it too"
    )


def test_tensor_in_two_files_is_refused(folder):
    write_index(folder, a="part.safetensors", b="part2.safetensors")
    (folder / "part2.safetensors").write_bytes((folder / "part.safetensors").read_bytes())
    assert "is in both part.safetensors and part2.safetensors" in refusal(folder)


def test_damaged_digests_are_refused(folder):
    path = folder / "model.safetensors"
    save_file(load_file(path), path, metadata={"glassformer.sha256": "[1"})
    assert "glassformer.sha256 in its header is not valid JSON" in refusal(folder)


# --- config.json ----------------------------------------------------------------------------------

BAD_CONFIG = {
    "cut off": ('{"model_type": "gpt2"', "config.json is not valid JSON"),
    "no object": ("[]", "config.json must hold a JSON object"),
    "not a number": ('{"layer_norm_epsilon": NaN}', "config.json is not valid JSON (NaN"),
    "too deep": ("[" * 200_000, "config.json is not valid JSON"),
    "no text": ("\ud800", "config.json is not valid JSON"),
    "no family": ("{}", "config.json: model_type is None; Glassformer reads "),
}


@pytest.mark.parametrize(("content", "message"), BAD_CONFIG.values(), ids=BAD_CONFIG.keys())
def test_damaged_config_is_refused(folder, content, message):
    (folder / "config.json").write_bytes(content.encode(errors="surrogatepass"))
    assert refusal(folder).startswith(message)


def test_missing_config_is_refused(folder):
    (folder / "config.json").unlink()
    assert refusal(folder).startswith("there is no config.json")


def test_config_of_many_megabytes_is_not_read(folder):
    (folder / "config.json").write_text(" " * (17 * 2**20))
    assert "takes 17,825,792 bytes and at most 16,777,216 are read" in refusal(folder)


BAD_SETTINGS = [
    ({"model_type": ["gpt2"]}, "model_type is ['gpt2']; Glassformer reads "),
    ({"model_type": "gtp2"}, "Did you mean 'gpt2'?"),
    ({"n_layer": -1}, "n_layer=-1 must be a whole number of at least 1"),
    ({"num_hidden_layers": -1, "n_layer": None}, "n_layer=-1 must be a whole number"),
    ({"n_embd": 0}, "n_embd=0 must be a whole number of at least 1"),
    ({"n_head": "5"}, "n_head='5' must be a whole number"),
    ({"n_head": True}, "n_head=True must be a whole number"),
    ({"n_head": 7}, "d_model=30 does not split into n_heads=7 heads"),
    ({"n_inner": 4.5}, "n_inner=4.5 must be a whole number"),
    ({"vocab_size": 10**30}, "more than 1,048,576, the most there can be"),
    ({"n_positions": 2**31}, "n_positions=2,147,483,648 is more than 1,048,576"),
    ({"activation_function": "mish"}, "activation_function='mish' is none of gelu_new, relu"),
    ({"activation_function": "step"}, "activation_function='step' is none of gelu_new, relu"),
    ({"activation_function": ["gelu"]}, "activation_function=['gelu'] is none of"),
    ({"layer_norm_epsilon": 0}, "layer_norm_epsilon=0 must be positive"),
    ({"layer_norm_epsilon": "x"}, "layer_norm_epsilon='x' must be a number"),
    ({"layer_norm_epsilon": 10**400}, "must be a number"),
    ({"tie_word_embeddings": 1}, "tie_word_embeddings=1 must be true or false"),
    ({"resid_pdrop": "none"}, "resid_pdrop='none' must be a number"),
    ({"resid_pdrop": 1.5}, "resid_pdrop=1.5 is a probability"),
    ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True is a GPT-2"),
    ({"scale_attn_weights": False}, "scale_attn_weights=False is a GPT-2 that Glassformer does"),
    ({"add_cross_attention": True}, "add_cross_attention=True is a GPT-2"),
    ({"quantization_config": {"bits": 4}}, "quantization_config: its weights are quantized"),
    ({"n_heads": 4}, "'n_heads' is no known setting of a GPT-2"),
    ({"rope_theta": 1e4}, "'rope_theta' is no known setting of a GPT-2"),
    (
        {"glassformer": {"version": 2, "config": {}}},
        "format version 2 and this Glassformer reads 1",
    ),
    ({"glassformer": {"config": {}}}, "format version None and this Glassformer reads 1"),
    ({"glassformer": []}, '"glassformer" must hold a version and a config'),
    ({"glassformer": {"version": 1, "config": {"d_modle": 3}}}, "'d_modle' is not a field"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SETTINGS)
def test_setting_that_cannot_be_is_named(folder, changes, message):
    edit(folder, **changes)
    result = refusal(folder)
    assert result.startswith("config.json: ")
    assert message in result


NOT_COMPUTED = [
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 must be 1"),
    ("phi", {"qk_layernorm": True}, "qk_layernorm=True is a Phi that"),
    ("phi3", {"rope_scaling": {"type": "longrope", "factor": 4.0}}, "short_factor=None must be a"),
    ("phi3", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "of a Phi-3 is longrope"),
    (
        "phi3",
        {"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}},
        "short holds 1 factors and 48 pairs of dimensions turn",
    ),
    ("gptj", {"rotary_dim": None}, "rotary_dim=None must be a whole number"),
    ("stablelm", {"qk_layernorm": True}, "qk_layernorm=True is a StableLM that"),
    ("granite", {"logits_scaling": 0}, "logits_scaling=0 must be a positive number"),
    ("falcon", {"num_kv_heads": 8, "multi_query": False}, "num_kv_heads=8 must be num_att"),
    ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn=2 must be 1, or 2 with"),
    ("bloom", {"apply_residual_connection_post_layernorm": True}, "=True is a BLOOM that"),
    ("arcee", {"hidden_act": "mish"}, "hidden_act='mish' is none of"),
]


@pytest.mark.parametrize(("model_type", "changes", "message"), NOT_COMPUTED)
def test_setting_that_changes_a_logit_and_is_not_computed_is_named(model_type, changes, message):
    with pytest.raises(GlassformerError) as error:
        families.family(model_type).read_config(changes)
    assert message in str(error.value)


OTHER_KINDS = {
    **dict.fromkeys(("mamba", "jamba", "nemotron_h"), "a state space"),
    **dict.fromkeys(("qwen3_next", "qwen3_5", "minimax"), "linear attention"),
    **dict.fromkeys(("gemma3n", "gemma4_text"), "per-layer embeddings"),
    **dict.fromkeys(("recurrent_gemma", "rwkv"), "a recurrence"),
    "lfm2": "convolutions between tokens",
    "deepseek_v3": "latent attention",
    "gemma3": "pictures beside its text",
}


@pytest.mark.parametrize("model_type", OTHER_KINDS)
def test_a_model_of_another_kind_is_refused_by_the_part_that_it_has(tmp_path, model_type):
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    with pytest.raises(GlassformerError) as caught:
        read_config(tmp_path)
    said = str(caught.value)
    assert f"model_type is '{model_type}', which has {OTHER_KINDS[model_type]}" in said
    assert "that is not computed here; Glassformer reads apertus, " in said
    assert "Did you mean" not in said


ODD_VALUES = [None, True, -1, 0, 3, 0.5, 10**400, "x", [], [3], [["x"]], {}, {"rope_type": []}]


@pytest.mark.parametrize("model_type", families.names())
def test_any_value_of_any_setting_is_read_or_refused(model_type):
    """No other error than ours, which the command line says in one line."""
    family = families.family(model_type)
    outcomes = set()
    for name in family.read_settings:
        for value in ODD_VALUES:
            try:
                outcomes.add(type(family.read_config({name: value})))
            except GlassformerError as error:
                outcomes.add(type(error))
    kind = TowersConfig if family.is_of_towers else Config
    assert outcomes == {kind, GlassformerError}


@pytest.mark.parametrize(
    ("n_layer", "message"),
    [
        (20_000, "config.json: n_layer=20,000 is more than 4,096, the most there can be"),
        (4_000, "config.json says 4,000 layers and the weights in FOLDER are of 3"),
    ],
)
def test_layers_by_the_thousand_are_refused_before_any_is_made(folder, n_layer, message):
    edit(folder, n_layer=n_layer)
    start = time.process_time()  # the machine may be busy
    assert message in refusal(folder)
    assert time.process_time() - start < 1  # making them took transformers over a minute


def test_own_form_takes_its_own_settings_only(tmp_path):
    save(random_model(ODD.replace(norm_position="none")), None, tmp_path)
    edit(tmp_path, auto_map={"AutoModel": "evil.Model"})
    assert refusal(tmp_path).startswith("config.json: 'auto_map' is no setting of a Glassformer")


def test_own_form_has_bounds_where_no_file_gives_them(tmp_path):
    config = ODD.replace(norm_position="none", position="sinusoidal")
    save(random_model(config), None, tmp_path)
    big = {**config.to_dict(), "n_ctx": 2**20, "d_model": 2**12}
    edit(tmp_path, glassformer={"version": 1, "config": big})
    assert "the table of n_ctx=1,048,576 positions of 4,096 numbers" in refusal(tmp_path)


def test_code_that_a_config_points_to_is_never_run(folder):
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Model: ...\n")
    edit(folder, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Model"})
    load_folder(folder)
    assert not marker.exists()


def test_broken_tokenizer_file_is_refused(folder):
    (folder / "tokenizer.json").write_text("{")
    assert refusal(folder).startswith("tokenizer.json is not a tokenizer.json")


@examples(20)
@given(st.data())
def test_damage_anywhere_is_refused_in_one_line_or_does_no_harm(tmp_path_factory, data):
    """Any bytes of any file: a GlassformerError, or a model with finite logits."""
    folder = tmp_path_factory.mktemp("damage")
    config = ODD.replace(n_layers=1, final_norm=data.draw(st.booleans()))
    tokenizer = Tokenizer.train("words", ["the cat sat on the mat"])
    save(random_model(config), tokenizer, folder)
    path = folder / data.draw(st.sampled_from(sorted(p.name for p in folder.iterdir())))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(len(content), 6000) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    try:
        model, _ = load_folder(folder)
        message = ""
    except GlassformerError as error:
        model, message = None, str(error)
    assert "\n" not in message
    assert model is None or model(torch.tensor([[0, 1, 2]])).isfinite().all()
