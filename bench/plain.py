"""Peers written in plain PyTorch: our model without a tape, and nanoGPT's with its training step.

`PlainGPT` has the modules of our model and makes the calls that it makes when silent, its product
of matrices among them, so that what differs is the tape alone.
`NanoGPT` is written as nanoGPT's published code is: `nn.Linear`, one fused attention layer, the
loss over all logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassformer.kernels.product import affine
from glassformer.model import Config


class PlainAttention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.W_QKV, self.b_QKV = _matrix(d, 3 * d), nn.Parameter(torch.zeros(3 * d))
        self.W_O, self.b_O = _matrix(d, d), nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        fused = affine(x, self.W_QKV, self.b_QKV)
        q, k, v = fused.view(*x.shape[:-1], 3, self.n_heads, -1).unbind(-3)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return affine(z.flatten(-2), self.W_O, self.b_O)


class PlainMLP(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        d, hidden = config.d_model, config.d_mlp
        self.W_in, self.b_in = _matrix(d, hidden), nn.Parameter(torch.zeros(hidden))
        self.W_out, self.b_out = _matrix(hidden, d), nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        post = F.gelu(affine(x, self.W_in, self.b_in), approximate="tanh")
        return affine(post, self.W_out, self.b_out)


class PlainBlock(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(config.d_model), PlainAttention(config)
        self.ln2, self.mlp = nn.LayerNorm(config.d_model), PlainMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class PlainGPT(nn.Module):
    """The default `Config` (GPT-2's form) by the calls and modules of our silent model."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layers))
        self.ln_final = nn.LayerNorm(config.d_model)

    def forward(self, ids: Tensor) -> Tensor:
        position = torch.arange(ids.shape[1], device=ids.device)
        x = self.embed(ids) + self.pos_embed(position)
        for block in self.blocks:
            x = block(x)
        x = self.ln_final(x)
        return affine(x, self.embed.weight.T, None)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self(ids).flatten(0, -2), targets.flatten(), ignore_index=-100)


def _matrix(n_in: int, n_out: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n_in, n_out) * 0.02)


class NanoBlock(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        d = config.d_model
        self.n_head = config.n_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(d, bias=False), nn.LayerNorm(d, bias=False)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.c_fc = nn.Linear(d, config.d_mlp, bias=False)
        self.mlp_proj = nn.Linear(config.d_mlp, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        heads = (rows, length, self.n_head, width // self.n_head)
        q, k, v = self.c_attn(self.ln_1(x)).split(width, dim=2)
        q, k, v = (part.view(heads).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(rows, length, width))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class NanoGPT(nn.Module):
    """nanoGPT's model without biases and dropout, as its recipe for characters has it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.wpe = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(NanoBlock(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.d_model, bias=False)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class NanoTraining:
    """nanoGPT's loop: random blocks, warm-up and cosine, clipping, AdamW, the loss now and then."""

    STEPS, WARMUP, PEAK, LOG_EVERY = 2000, 100, 1e-3, 10

    def __init__(
        self,
        model: NanoGPT,
        tokens: np.ndarray,
        n_ctx: int,
        rows: int,
        *,
        bf16: bool = False,
        compiled: bool = False,
    ) -> None:
        self.model, self.tokens, self.n_ctx, self.rows = model, tokens, n_ctx, rows
        self.precision = partial(torch.autocast, "cpu", torch.bfloat16, enabled=bf16)
        self.forward: Callable[[Tensor, Tensor], Tensor] = (
            torch.compile(model) if compiled else model
        )
        parameters = list(model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.PEAK, betas=(0.9, 0.99), fused=True)
        self.n = 0
        self.loss = math.nan

    def batch(self) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(self.tokens) - self.n_ctx, (self.rows,)).tolist()
        blocks = [self.tokens[i : i + self.n_ctx + 1].astype(np.int64) for i in starts]
        x = torch.stack([torch.from_numpy(block[:-1]) for block in blocks])
        return x, torch.stack([torch.from_numpy(block[1:]) for block in blocks])

    def step(self) -> None:
        share = min(1.0, self.n / self.STEPS)
        cosine = 0.1 + 0.45 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = self.PEAK * min((self.n + 1) / (self.WARMUP + 1), cosine)
        ids, targets = self.batch()
        with self.precision():
            loss = self.forward(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.n % self.LOG_EVERY == 0:
            self.loss = loss.item()
        self.n += 1
