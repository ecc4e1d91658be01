"""Llama and Qwen3 in plain PyTorch: the modules and calls of our silent model, without a tape.

The product of matrices is ours in both, as in `bench.plain`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassformer.kernels.product import affine
from glassformer.model import Config, Decoder


class PlainNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.w, self.eps = nn.Parameter(torch.empty(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.w, self.eps)


class PlainAttention(nn.Module):
    """Heads that share keys and values, turned by rotary positions; a norm of both for Qwen3."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.d_head, self.n_kv = config.d_head, config.n_kv_heads
        self.widths = (
            config.n_heads * self.d_head,
            self.n_kv * self.d_head,
            self.n_kv * self.d_head,
        )
        self.W_QKV = nn.Parameter(torch.empty(config.d_model, sum(self.widths)))
        self.W_O = nn.Parameter(torch.empty(self.widths[0], config.d_model))
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = PlainNorm(self.d_head, config.norm_eps)
            self.k_norm = PlainNorm(self.d_head, config.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        parts = affine(x, self.W_QKV, None).split(self.widths, -1)
        q, k, v = (part.unflatten(-1, (-1, self.d_head)) for part in parts)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (y.transpose(1, 2) for y in (rotated(q, cos, sin), rotated(k, cos, sin), v))
        shared = q.shape[1] != k.shape[1]
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=shared)
        return affine(z.transpose(1, 2).flatten(-2), self.W_O, None)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [batch, pos, head, d_head], its halves turned by angles [pos, 1, d_head / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat((torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)), -1)


class PlainMLP(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.W_gate = nn.Parameter(torch.empty(config.d_model, config.d_mlp))
        self.W_in = nn.Parameter(torch.empty(config.d_model, config.d_mlp))
        self.W_out = nn.Parameter(torch.empty(config.d_mlp, config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(affine(x, self.W_gate, None))
        return affine(affine(x, self.W_in, None) * gate, self.W_out, None)


class PlainBlock(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln1, self.attn = PlainNorm(config.d_model, config.norm_eps), PlainAttention(config)
        self.ln2, self.mlp = PlainNorm(config.d_model, config.norm_eps), PlainMLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x), cos, sin)
        return x + self.mlp(self.ln2(x))


class PlainLlama(nn.Module):
    """The weights of one of our models of this shape, with the head tied."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        config = model.config
        with torch.device("meta"):
            self.embed = nn.Embedding(config.vocab_size, config.d_model)
            self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layers))
            self.ln_final = PlainNorm(config.d_model, config.norm_eps)
        state = model.state_dict()
        state["embed.weight"] = state.pop("embed.W_E")
        self.load_state_dict(state, assign=True)
        frequency = config.rotary_base ** (
            -torch.arange(0, config.d_head, 2).double() / config.d_head
        )
        angle = torch.arange(config.n_ctx).double()[:, None, None] * frequency
        self.cos, self.sin = angle.cos().to(model.embed.W_E), angle.sin().to(model.embed.W_E)

    def forward(self, ids: Tensor) -> Tensor:
        position = torch.arange(ids.shape[1])
        cos, sin = self.cos[position], self.sin[position]
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return affine(self.ln_final(x), self.embed.weight.T, None)
