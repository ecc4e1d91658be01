"""What the families after BERT share: names of settings and tensors."""

from __future__ import annotations

from typing import Any

from glassformer.interop.settings import Setting

CHOICES: dict[str, Any] = {
    "causal": False,
    "norm_position": "post",
    "embed_norm": True,
    "final_norm": False,
    "head_bias": True,
    "masked_head": True,
}
FIXED = {
    "is_decoder": (False,),
    "position_embedding_type": ("absolute",),
    "tie_word_embeddings": (True,),  # an untied head has its bias elsewhere
}
IGNORED = "attention_probs_dropout_prob classifier_dropout"
ALWAYS = (
    *((name, True, (False,)) for name in ("norm_gain", "norm_bias", "attn_bias", "mlp_bias")),
    ("head_bias", True, (False,)),
    ("position", "learned", ("sinusoidal", "none")),
)
EMBEDDINGS = {
    "embed.E": "embeddings.word_embeddings",
    "type_embed.type": "embeddings.token_type_embeddings",
    "pos_embed.pos": "embeddings.position_embeddings",
    "ln_embed": "embeddings.LayerNorm",
}
BLOCK = {
    "attn.Q": "attention.self.query",
    "attn.K": "attention.self.key",
    "attn.V": "attention.self.value",
    "attn.O": "attention.output.dense",
    "ln1": "attention.output.LayerNorm",
    "mlp.in": "intermediate.dense",
    "mlp.out": "output.dense",
    "ln2": "output.LayerNorm",
}
LAYERS = "encoder.layer."
ENDINGS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def settings(activation: Setting, vocab_size: int, n_ctx: int, types: int) -> tuple[Setting, ...]:
    """The settings by BERT's names, with the defaults that differ."""
    return (
        Setting("vocab_size", "vocab_size", vocab_size),
        Setting("hidden_size", "d_model", 768),
        Setting("num_hidden_layers", "n_layers", 12),
        Setting("num_attention_heads", "n_heads", 12),
        Setting("intermediate_size", "d_mlp", 3072),
        activation,
        Setting("hidden_dropout_prob", "dropout", 0.1),
        Setting("max_position_embeddings", "n_ctx", n_ctx),
        Setting("type_vocab_size", "token_types", types),
        Setting("layer_norm_eps", "norm_eps", 1e-12),
    )
