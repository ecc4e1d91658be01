"""GPT-2 as `transformers` writes it: its settings and tensor names, in both directions.

GPT-2's matrices are stored [in, out], as ours are, so nothing is transposed but an untied head.
Where our configuration has less than GPT-2 (no gain, no bias, fixed or no positions) what is
missing is written out as ones, zeros or the fixed table: the same numbers come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.kernels.positions import sinusoid_table
from glassformer.model import Config, Decoder

ACTIVATIONS = {  # the name `transformers` has for it -> ours
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
}

FIXED: dict[str, tuple[Any, ...]] = {  # settings that change the computation -> values we compute
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "is_decoder": (False, True),
    "reorder_and_upcast_attn": (False, True),  # another order of the same arithmetic
    "quantization_config": (None,),
    "pruned_heads": ({}, None),
}

_IGNORED = """
    architectures attn_implementation attn_pdrop auto_map bos_token_id chunk_size_feed_forward
    cross_attention_hidden_size custom_pipelines decoder_start_token_id dtype embd_pdrop
    eos_token_id eos_token_ids finetuning_task glassformer gradient_checkpointing id2label
    initializer_range keys_to_ignore_at_inference label2id language license mask_token_id
    model_type n_ctx n_special num_labels output_attentions output_hidden_states output_past
    pad_token_id predict_special_tokens prefix problem_type pretrained_model_name_or_path
    return_dict sep_token_id summary_activation summary_first_dropout summary_proj_to_labels
    summary_type summary_use_proj task_specific_params tf_legacy_loss tie_encoder_decoder
    tokenizer_class torch_dtype torchscript transformers.js_config transformers_version
    transformers_weights unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache
    use_return_dict vocab_size_or_config_json_file xla_device
"""
# how text is generated: old versions wrote into config.json what is in generation_config.json now
_GENERATION = """
    assistant_confidence_threshold assistant_early_exit assistant_ensemble_weight
    assistant_lookbehind bad_words_ids begin_suppress_tokens cache_config cache_implementation
    compile_config constraints continuous_batching_config disable_compile diversity_penalty
    do_sample dola_layers early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty
    epsilon_cutoff eta_cutoff exponential_decay_length_penalty force_words_ids
    forced_bos_token_id forced_decoder_ids forced_eos_token_id generation_config
    generation_kwargs guidance_scale is_assistant length_penalty low_memory max_cache_len
    max_length max_matching_ngram_size max_new_tokens max_time min_length min_new_tokens min_p
    no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule num_beam_groups
    num_beams num_return_sequences output_logits output_scores penalty_alpha prefill_chunk_size
    prompt_lookup_num_tokens remove_invalid_values renormalize_logits repetition_penalty
    return_dict_in_generate return_legacy_cache sequence_bias speculation_type stop_strings
    suppress_tokens target_lookbehind temperature token_healing top_h top_k top_p typical_p
    use_mtp watermarking_config
"""
IGNORED = frozenset(f"{_IGNORED} {_GENERATION}".split())  # they leave the logits as they are

DEFAULTS: dict[str, Any] = {  # what `transformers` takes for a setting that config.json leaves out
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}

ALIASES = {  # other spellings that `transformers` accepts
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}

HEAD = "lm_head.weight"  # [vocab, d_model]: the one matrix stored the other way round
_BUFFER = re.compile(
    r"transformer\.h\.\d+\.attn\.(bias|masked_bias)"
)  # causal masks of old versions


def read_config(settings: Mapping[str, Any]) -> Config:
    """Our configuration for GPT-2's settings; one that might change a logit is refused by name.

    Read past are those that `transformers` has or had for other ends (`IGNORED`), those that a
    program keeps for itself, whose names begin with "_", and unknown ones that are empty: null,
    "", [] or {}. Any other unknown setting is refused, since another program may compute by it.

    `dropout` becomes `resid_pdrop`; `embd_pdrop` and `attn_pdrop` matter in training only and are
    not taken over.

    >>> read_config({"model_type": "gpt2", "n_layer": 2}).n_layers
    2
    """
    settings = {ALIASES.get(name, name): value for name, value in settings.items()}
    for name, value in settings.items():
        if name in FIXED and value not in FIXED[name]:
            raise GlassformerError(
                f"{name}={value!r} is a GPT-2 that Glassformer does not compute; it can take"
                f" {' or '.join(map(repr, FIXED[name]))}"
            )
        known = name in FIXED or name in DEFAULTS or name in IGNORED
        if not known and not name.startswith("_") and value not in (None, "", [], {}):
            names = [*DEFAULTS, *FIXED, *IGNORED]
            raise GlassformerError(
                f"{name!r} is no known setting of a GPT-2, and it might change what the model"
                f" computes; take it out if it does not.{did_you_mean(name, names)}"
            )
    given = {**DEFAULTS, **{name: v for name, v in settings.items() if name in DEFAULTS}}
    for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner"):
        value = given[name]
        if (type(value) is not int or value < 1) and (name, value) != ("n_inner", None):
            raise GlassformerError(f"{name}={value!r} must be a whole number of at least 1")
    activation = given["activation_function"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise GlassformerError(
            f"activation_function={activation!r} is none of {', '.join(ACTIVATIONS)}"
        )
    return Config.from_dict(
        {
            "vocab_size": given["vocab_size"],
            "n_ctx": given["n_positions"],
            "d_model": given["n_embd"],
            "n_layers": given["n_layer"],
            "n_heads": given["n_head"],
            "d_mlp": given["n_inner"] or 0,
            "norm_eps": given["layer_norm_epsilon"],
            "activation": ACTIVATIONS[activation],
            "tied": given["tie_word_embeddings"],
            "dropout": given["resid_pdrop"],
        }
    )


def in_the_way(config: Config) -> list[str]:
    """What GPT-2 can't express, as "field=value"; empty when the folder can be a GPT-2's.

    >>> in_the_way(Config.preset("gpt2")), in_the_way(Config.preset("miniature"))
    ([], ["norm_position='none'", 'final_norm=False', 'head_bias=True'])
    """
    reasons = {
        "norm": "layer",
        "norm_position": "pre",
        "embed_norm": False,
        "final_norm": True,
        "head_bias": False,
        "qk_norm": False,
    }
    found = [
        f"{name}={getattr(config, name)!r}"
        for name, needed in reasons.items()
        if getattr(config, name) != needed
    ]
    if config.position == "rotary":
        found.append("position='rotary'")
    if config.activation not in ACTIVATIONS.values():
        found.append(f"activation={config.activation!r}")
    if config.n_heads * config.d_head != config.d_model:
        found.append(f"d_head={config.d_head}")
    return found


def write_config(config: Config) -> dict[str, Any]:
    """GPT-2's settings for our configuration, for one that has nothing in the way."""
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_mlp,
        "activation_function": activation,
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }


def whole(config: Config) -> Config:
    """The GPT-2 that computes the same: everything GPT-2 has, present."""
    return config.replace(
        position="learned", norm_gain=True, norm_bias=True, attn_bias=True, mlp_bias=True
    )


PARTS = {  # our parameter, inside a block -> GPT-2's
    "ln1.w": "ln_1.weight",
    "ln1.b": "ln_1.bias",
    "attn.W_QKV": "attn.c_attn.weight",
    "attn.b_QKV": "attn.c_attn.bias",
    "attn.W_O": "attn.c_proj.weight",
    "attn.b_O": "attn.c_proj.bias",
    "ln2.w": "ln_2.weight",
    "ln2.b": "ln_2.bias",
    "mlp.W_in": "mlp.c_fc.weight",
    "mlp.b_in": "mlp.c_fc.bias",
    "mlp.W_out": "mlp.c_proj.weight",
    "mlp.b_out": "mlp.c_proj.bias",
}


def tensor_names(config: Config) -> Iterator[tuple[str, str]]:
    """Our parameter and GPT-2's tensor, in the model's order, for the whole GPT-2."""
    yield "embed.W_E", "transformer.wte.weight"
    yield "pos_embed.W_pos", "transformer.wpe.weight"
    for layer in range(config.n_layers):
        for ours, theirs in PARTS.items():
            yield f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}"
    yield "ln_final.w", "transformer.ln_f.weight"
    yield "ln_final.b", "transformer.ln_f.bias"
    if not config.tied:
        yield "unembed.W_U", HEAD


def write_tensors(model: Decoder) -> dict[str, Tensor]:
    """GPT-2's tensors for our model, for a configuration that has nothing in the way."""
    state = model.state_dict()
    with torch.device("meta"):
        shapes = Decoder(whole(model.config)).state_dict()
    tensors = {}
    for ours, theirs in tensor_names(model.config):
        tensor = state.get(ours)
        if tensor is None:
            tensor = absent(ours, shapes[ours].shape, model.config).to(state["embed.W_E"].dtype)
        if theirs == HEAD:
            tensor = tensor.T.clone(memory_format=torch.contiguous_format)
        tensors[theirs] = tensor
    return tensors


def absent(ours: str, shape: tuple[int, ...], config: Config) -> Tensor:
    """The numbers [*shape], in float64, that stand for a parameter our configuration lacks."""
    if ours == "pos_embed.W_pos" and config.position == "sinusoidal":
        return sinusoid_table(*shape)
    of_one = ours.endswith(".w")  # a gain; anything else is added
    return (torch.ones if of_one else torch.zeros)(shape, dtype=torch.float64)


def full_name(stored: str) -> str:
    """A tensor's name with `transformer.` in front, which some folders leave out.

    >>> full_name("h.0.ln_1.weight"), full_name("lm_head.weight")
    ('transformer.h.0.ln_1.weight', 'lm_head.weight')
    """
    return stored if stored.startswith(("transformer.", HEAD)) else f"transformer.{stored}"


def is_buffer(name: str) -> bool:
    """Whether a tensor is a causal mask, which old versions stored among the weights."""
    return _BUFFER.fullmatch(name) is not None
