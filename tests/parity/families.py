"""Small models of every family, made by `transformers` with odd sizes and random weights."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

from glassformer.model import TowersConfig
from tests.interop import models
from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)

SIZES = {
    "vocab_size": 61,
    "hidden_size": 30,
    "num_hidden_layers": 2,
    "num_attention_heads": 5,
    "max_position_embeddings": 19,
}
ONE_BY_ONE = {"experts_implementation": "eager"}
"""Expert by expert: the faster way of `transformers` has no float64."""

TOKENS = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": None}

# A family's model_type to settings that differ from one variant to the next.
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{"n_inner": 44}, {"n_inner": 7, "tie_word_embeddings": False}],
    "opt": [
        {"ffn_dim": 44, "word_embed_proj_dim": 30},
        {"ffn_dim": 44, "do_layer_norm_before": False, "word_embed_proj_dim": 30},
        {"ffn_dim": 7, "enable_bias": False, "tie_word_embeddings": False},
        {"ffn_dim": 7, "layer_norm_elementwise_affine": False, "_remove_final_layer_norm": True},
    ],
}

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 2.0,
    "original_max_position_embeddings": 8,
    "rope_theta": 50.0,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 30.0,
}
LIKE_LLAMA = {"intermediate_size": 44, "head_dim": 6}
SHARED = {**LIKE_LLAMA, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}
SIX = {"hidden_size": 48, "num_attention_heads": 6, "intermediate_size": 44}
NO_WIDTH = {**SIX, "num_key_value_heads": 2}

FAMILIES |= {
    "llama": [
        LIKE_LLAMA,
        {**SHARED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        {**SHARED, "rope_parameters": LLAMA3},
        {**LIKE_LLAMA, "rope_parameters": YARN, "hidden_act": "gelu"},
        {**SHARED, "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 1e3}},
    ],
    "qwen2": [
        SHARED,
        {
            **SHARED,
            "num_key_value_heads": 6,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 1,
        },
    ],
    "qwen3": [SHARED, {**SHARED, "attention_bias": True, "tie_word_embeddings": True}],
    "gemma": [SHARED],
    "gemma2": [
        {**SHARED, "query_pre_attn_scalar": 11, "sliding_window": 4},
        {**SHARED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": None},
    ],
    "gemma3_text": [
        {
            **SHARED,
            "query_pre_attn_scalar": 11,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ],
    "gpt_neox": [
        {**SIX, "rope_parameters": {"rope_theta": 100.0, "partial_rotary_factor": 0.5}},
        {**SIX, "use_parallel_residual": False, "attention_bias": False, "intermediate_size": 7},
    ],
    "gpt_neo": [
        {
            "num_layers": 2,
            "num_heads": 5,
            "attention_types": [[["local", "global"], 1]],
            "window_size": 4,
            "intermediate_size": 44,
        },
    ],
    "olmo2": [NO_WIDTH],
    "apertus": [
        NO_WIDTH,
        {**NO_WIDTH, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True},
        {**NO_WIDTH, "hidden_act": "silu", "attention_bias": True, "rope_parameters": LLAMA3},
    ],
    "olmo3": [
        {
            **NO_WIDTH,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": YARN,
                "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
            },
        },
    ],
    "smollm3": [{**NO_WIDTH, "no_rope_layers": [0, 1]}],
    "nanochat": [NO_WIDTH, {**NO_WIDTH, "final_logit_softcapping": None}],
    "mistral": [{**SHARED, "sliding_window": 3}, {**SHARED, "sliding_window": None}],
}

PLAIN = {"hidden_size": 48, "num_attention_heads": 6}
HALF = {"rope_parameters": {"rope_theta": 100.0, "partial_rotary_factor": 0.5}}

FAMILIES |= {
    "phi": [
        SIX,
        {**NO_WIDTH, **HALF, "tie_word_embeddings": True, "hidden_act": "gelu"},
    ],
    "phi3": [
        {**SIX, "pad_token_id": None},
        {**NO_WIDTH, **HALF, "pad_token_id": None, "sliding_window": 4},
        {
            **NO_WIDTH,
            "pad_token_id": None,
            "original_max_position_embeddings": 8,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 100.0,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.125, 1.5],
                "long_factor": [1.25, 3.0, 7.5],
            },
        },
    ],
    "stablelm": [
        {**NO_WIDTH, "use_qkv_bias": True},
        {**SIX, **HALF, "num_key_value_heads": 6, "use_parallel_residual": True},
    ],
    "gptj": [
        {"rotary_dim": 4, "n_inner": 44},
        {**PLAIN, "rotary_dim": 8, "tie_word_embeddings": True},
    ],
    "falcon": [
        {**PLAIN, "ffn_hidden_size": 44},
        {
            **PLAIN,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "bias": True,
            "tie_word_embeddings": False,
        },
        {
            **PLAIN,
            "new_decoder_architecture": True,
            "num_kv_heads": 3,
            "num_ln_in_parallel_attn": 1,
        },
        {**PLAIN, "multi_query": False, "parallel_attn": False, "bias": True},
        {**PLAIN, "multi_query": False, "parallel_attn": False, "bias": True, "alibi": True},
    ],
    "bloom": [
        {"seq_length": 19, "max_position_embeddings": None},
        {**PLAIN, "seq_length": 19, "max_position_embeddings": None, "tie_word_embeddings": False},
    ],
    "arcee": [NO_WIDTH, {**SHARED, "attention_bias": True, "mlp_bias": True}],
    "granite": [
        {
            **NO_WIDTH,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.1,
            "logits_scaling": 3.0,
            "tie_word_embeddings": True,
        },
        {**SHARED, "attention_bias": True, "mlp_bias": True, "attention_multiplier": 8**-0.5},
    ],
}

FEW = {**SHARED, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 13}
SOME = {**FEW, "num_hidden_layers": 4, "intermediate_size": 29}
LOCAL = {**SHARED, "num_local_experts": 5, "num_experts_per_tok": 3}

FAMILIES |= {
    "mixtral": [
        {**LOCAL, "num_experts_per_tok": 2},
        {**LOCAL, "sliding_window": 3, "hidden_act": "gelu", "tie_word_embeddings": True},
    ],
    "qwen3_moe": [
        {**SOME, "decoder_sparse_step": 2, "norm_topk_prob": True},
        {**SOME, "mlp_only_layers": [1, 3], "use_sliding_window": True, "sliding_window": 4},
    ],
    "olmoe": [
        {**NO_WIDTH, "num_experts": 7, "num_experts_per_tok": 3},
        {**NO_WIDTH, "num_experts": 4, "num_experts_per_tok": 4, "norm_topk_prob": True},
    ],
    "gpt_oss": [
        {**LOCAL, "sliding_window": 4, "swiglu_limit": 0.7, "rope_parameters": YARN},
        {**LOCAL, "num_experts_per_tok": 1, "layer_types": ["full_attention"] * 2},
    ],
}

ENCODERS: dict[str, list[dict[str, Any]]] = {
    "bert": [{"intermediate_size": 44}, {"intermediate_size": 7, "hidden_act": "relu"}],
    "roberta": [
        {"intermediate_size": 44, "type_vocab_size": 1, "pad_token_id": 1},
        {"intermediate_size": 7, "pad_token_id": 1, "layer_norm_eps": 1e-3},
    ],
    "modernbert": [
        {"num_hidden_layers": 4, "hidden_size": 20, "intermediate_size": 23, "local_attention": 6},
        {
            "hidden_size": 20,
            "intermediate_size": 7,
            "local_attention": 4,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "tie_word_embeddings": False,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ],
}
FAMILIES |= ENCODERS

APART = {
    "vocab_size": 61,
    "max_position_embeddings": 19,
    "d_model": 30,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 5,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 44,
    "decoder_ffn_dim": 7,
    "pad_token_id": 60,
    "decoder_start_token_id": 60,
}
DISTANCES = {
    "vocab_size": 61,
    "n_positions": 19,
    "num_layers": 2,
    "d_model": 30,
    "d_kv": 7,
    "d_ff": 44,
    "num_heads": 3,
    "num_decoder_layers": 1,
    "relative_attention_num_buckets": 7,
    "relative_attention_max_distance": 5,
    "pad_token_id": 60,
    "decoder_start_token_id": 60,
}
TOWERS: dict[str, list[dict[str, Any]]] = {
    "marian": [
        {**APART, "scale_embedding": True, "activation_function": "swish"},
        {**APART, "d_model": 15, "share_encoder_decoder_embeddings": False,
         "decoder_vocab_size": 67},
    ],
    "bart": [APART, {**APART, "scale_embedding": True, "activation_function": "relu"}],
    "t5": [DISTANCES, {**DISTANCES, "feed_forward_proj": "gated-gelu",
                       "tie_word_embeddings": False}],
}  # fmt: skip
FAMILIES |= TOWERS

CASES = [
    (model_type, variant, settings)
    for model_type, variants in FAMILIES.items()
    for variant, settings in enumerate(variants)
]


class InDouble(TorchFunctionMode):
    """Inside, `transformers` computes in float64 what it would narrow to fp32: norms, softmax,
    rotary angles, and a constant of BLOOM's that it writes with fp32's digits. What is left between
    two models is the order of their sums."""

    def __enter__(self) -> Any:
        torch.set_default_dtype(torch.float64)  # constants too, as the scale of Gemma's embeddings
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        torch.set_default_dtype(torch.float32)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        named = {n: _wider(a) for n, a in (kwargs or {}).items()}
        return func(*map(_wider, args), **named)


def _wider(arg: Any) -> Any:
    if arg is torch.float32:
        return torch.float64
    return math.sqrt(2 / math.pi) if isinstance(arg, float) and arg == 0.79788456 else arg


def opener(model_type: str) -> Any:
    """What opens a family's folders there."""
    if model_type in TOWERS:
        return AutoModelForSeq2SeqLM
    return AutoModelForMaskedLM if model_type in ENCODERS else AutoModelForCausalLM


def random_ids(config: Any, batch: int = 2, seed: int = 0) -> Tensor:
    """Token ids that fill the context; of two towers without the padding.

    `transformers` gives the padding's embedding no gradient, whoever reads it.
    """
    ids = models.random_ids(config, batch, seed)
    return ids % config.pad_id if isinstance(config, TowersConfig) else ids


def source_of(ids: Tensor) -> Tensor:
    """What an encoder reads while the decoder reads ids: some of them, the second row padded."""
    source = ids[:, 1:] // 2 + 1
    source[-1, -2:] = 60
    return source


def their_logits(model: Any, ids: Tensor) -> Tensor:
    """The logits of a model of `transformers`."""
    if model.config.model_type not in TOWERS:
        return model(ids).logits
    source = source_of(ids)
    mask = (source != model.config.pad_token_id).long()
    return model(input_ids=source, attention_mask=mask, decoder_input_ids=ids).logits


def more_here(model: Any, ids: Tensor) -> dict[str, Any]:
    """What a model of ours is given beside ids."""
    return {"source": source_of(ids)} if isinstance(model.config, TowersConfig) else {}


def their_model(model_type: str, settings: dict[str, Any]) -> Any:
    """A model of `transformers` in float64 whose every parameter is random, gains too."""
    sizes = {} if model_type in TOWERS else SIZES
    config = AutoConfig.for_model(model_type, **{**sizes, **TOKENS, **settings})
    generator = torch.Generator().manual_seed(0)
    with InDouble(), patch.object(torch, "FloatTensor", torch.DoubleTensor):  # Marian's sines
        model: Any = opener(model_type).from_config(config, **ONE_BY_ONE)
        model = model.to(torch.float64).eval()
    biases = [(name, bias) for name, bias in model.named_buffers() if name == "final_logits_bias"]
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *biases]:
            if "embed_positions" in name and not parameter.requires_grad:
                continue  # sines
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(mean + 0.3 * noise)
    return model
