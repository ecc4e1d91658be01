"""How large a model is, by arithmetic: asked before any of it is made."""

from __future__ import annotations

from glassformer.errors import GlassformerError
from glassformer.memory import machine_memory
from glassformer.model.config import Config
from glassformer.model.towers_config import TowersConfig

SHARE = 0.8  # of the machine's memory, the most that may be asked for


def parameter_count(config: Config | TowersConfig) -> int:
    """The number of parameters, tied ones counted once.

    >>> parameter_count(Config.preset("gpt2"))
    124439808
    """
    if isinstance(config, TowersConfig):
        return _towers(config)
    c, part = config, config.attention(0)
    norm = c.d_model * (c.norm_gain + c.norm_bias)
    width, columns = part.widths[0], sum(part.widths)
    attention = c.d_model * (width + columns)
    attention += part.qkv_bias * columns + part.out_bias * c.d_model
    if part.qk_norm is not None and part.qk_norm.gain:
        attention += sum(part.widths[:2]) if part.qk_norm_wide else 2 * c.d_head
    attention += part.sinks * c.n_heads
    norms = sum(len(c.block_norms(layer)) for layer in range(c.n_layers)) * norm
    sparse = sum(map(c.has_experts, range(c.n_layers)))
    router = c.n_experts * (c.d_model + c.router_bias)
    mlps = (c.n_layers - sparse) * _mlp(c, c.d_mlp)
    mlps += sparse * (router + c.n_experts * _mlp(c, c.d_expert))
    learned = c.n_ctx * c.d_model * (c.position == "learned")
    learned += c.relative_buckets * c.n_heads * (c.position == "relative")
    types = c.token_types * c.d_model
    head = c.vocab_size * (c.d_model * (not c.tied) + c.head_bias)
    ends = norm * (c.embed_norm + c.final_norm)
    if c.masked_head:
        head += c.d_model * (c.d_model + c.mlp_bias) + norm
    tables = c.vocab_size * c.d_model + learned + types
    total = tables + c.n_layers * attention + norms + mlps + ends + head
    return total + adapter_parameters(c)


def adapter_parameters(c: Config | TowersConfig) -> int:
    """The parameters of adapters: rank times (in + out) of each adapted matrix."""
    if isinstance(c, TowersConfig) or c.lora is None:
        return 0
    wide, shared, _ = c.attention(0).widths
    outs = {"W_Q": wide, "W_K": shared, "W_V": shared, "W_O": wide}
    sides = sum(c.d_model + outs.get(name, c.d_mlp) for name in c.lora.on)
    return c.n_layers * c.lora.rank * sides


def _towers(config: TowersConfig) -> int:
    """The parameters of an encoder-decoder: the encoder's are those of one with a tied head."""
    encoder, decoder = config.encoder, config.decoder
    headless = encoder.replace(tied=True, head_bias=False)
    total = parameter_count(headless) + parameter_count(decoder)
    if config.shared_embeddings:
        total -= decoder.vocab_size * decoder.d_model
    part, wide = decoder.attention(0), encoder.d_model
    width, shared, _ = part.widths
    cross = 2 * decoder.d_model * width + 2 * wide * shared
    cross += part.qkv_bias * sum(part.widths) + part.out_bias * decoder.d_model
    norms = len(decoder.block_norms(0, crosses=True)) - len(decoder.block_norms(0))
    cross += norms * decoder.d_model * (decoder.norm_gain + decoder.norm_bias)
    return total + decoder.n_layers * cross


def _mlp(c: Config, neurons: int) -> int:
    """The parameters of one MLP."""
    up = 1 + c.gated
    learned = 2 * (c.activation == "xielu")
    return learned + (up + 1) * c.d_model * neurons + c.mlp_bias * (up * neurons + c.d_model)


def refuse_larger_than_memory(
    config: Config | TowersConfig, bytes_each: int, what: str, more: int = 0
) -> None:
    """Raise where `bytes_each` for every parameter, and `more` bytes, are beyond the machine.

    what: that which takes them, in words.
    """
    parameters = parameter_count(config)
    needed, available = bytes_each * parameters + more, machine_memory()
    if needed > SHARE * available:
        raise GlassformerError(
            f"{what} of a model with {parameters:,} parameters would take {needed / 1e9:,.0f} GB,"
            f" more than {SHARE:.0%} of this machine's {available / 1e9:,.3g} GB;"
            " give smaller sizes (`glassformer params` counts without making anything)"
        )
