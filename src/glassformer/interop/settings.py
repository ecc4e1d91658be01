"""Settings in a config.json: which are read, which are read past, and which are refused by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glassformer.errors import GlassformerError

REQUIRED = object()
"""The default of a setting that must be there."""


@dataclass(frozen=True)
class Setting:
    """A setting of a family and the field of our configuration that it is.

    `default`: what `transformers` takes where config.json leaves it out. `null`: what null stands
    for here; without it null is refused. `values`: their value to ours, where they differ.
    """

    theirs: str
    ours: str
    default: Any
    null: Any = REQUIRED
    values: Mapping[Any, Any] = field(default_factory=dict)

    def read(self, value: Any, kind: type) -> Any:
        """Our value for theirs; `kind` is the type of our field."""
        if value is None and self.null is not REQUIRED:
            return self.null
        if self.values:
            if not isinstance(value, str | bool) or value not in self.values:
                raise GlassformerError(
                    f"{self.theirs}={value!r} is none of {', '.join(map(str, self.values))}"
                )
            return self.values[value]
        return integer(self.theirs, value) if kind is int else value

    def write(self, value: Any) -> Any:
        """Their value for ours; where they have none, the one they take by default."""
        if self.null is not REQUIRED and value == self.null:
            return None
        if not self.values:
            return value
        return next((theirs for theirs, ours in self.values.items() if ours == value), self.default)


def positive(name: str, value: Any) -> float:
    """The value of a setting that is a number above zero."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        raise GlassformerError(f"{name}={value!r} must be a positive number")
    return float(value)


def integer(name: str, value: Any) -> int:
    """The value of a setting that counts."""
    if type(value) is not int or value < 1:
        raise GlassformerError(f"{name}={value!r} must be a whole number of at least 1")
    return value


ACTIVATIONS = {  # the name `transformers` has for it -> ours
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
    "relu2": "relu_squared",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
}

FIXED: dict[str, tuple[Any, ...]] = {  # of any family: what changes the computation, as we compute
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "is_decoder": (False, True),
    "quantization_config": (None,),
    "pruned_heads": ({}, None),
}

_IGNORED = """
    architectures attn_implementation auto_map bos_token_id chunk_size_feed_forward cls_token_id
    cross_attention_hidden_size custom_pipelines decoder_start_token_id dtype
    eos_token_id eos_token_ids finetuning_task glassformer gradient_checkpointing id2label
    initializer_range keys_to_ignore_at_inference label2id language license mask_token_id
    model_type num_labels output_attentions output_hidden_states output_past
    pad_token_id prefix problem_type pretrained_model_name_or_path
    return_dict sep_token_id
    task_specific_params tf_legacy_loss tie_encoder_decoder
    tokenizer_class torch_dtype torchscript transformers.js_config transformers_version
    transformers_weights unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache
    use_return_dict xla_device
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
IGNORED = frozenset(f"{_IGNORED} {_GENERATION}".split())
"""Settings of any family that leave the logits as they are."""
