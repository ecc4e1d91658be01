"""What many GPUs would give, from arithmetic, memory and bandwidth: a model on paper.

A step computes and exchanges. Copies (DDP) sum the gradients of N parameters once: every rank sends
2 (n - 1) / n x 4 N bytes. Parts (FSDP2) gather the weights for the forward pass, gather them again
for the backward pass, and sum the gradients into parts: (n - 1) / n x 4 N bytes each; each time
4 N bytes are also copied, out of a buffer or into one. Where all of the exchange hides behind the
arithmetic a step takes the longer of the two; where none does, their sum. The truth lies between.
`bench_scale` holds such a sum against steps that were measured: of a rank's step by itself, copies
included, and of gloo's bare exchanges.

Of GPUs it is assumed that memory and every exchange run at the bandwidth that their maker names,
that no exchange waits for its first byte, and that bookkeeping happens meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from bench.bench_gpu import PEAKS, flops_per_token
from glassformer.model import Config, Decoder
from glassformer.model.size import parameter_count

TOKENS = 16_384  # of a GPU in a step, in one pass
NUMBER = 4  # bytes: weights, gradients and both moments of AdamW are fp32


@dataclass(frozen=True)
class Cluster:
    """GPUs as their makers describe them; `reached` is the share of the peak that is assumed."""

    name: str
    peak: float
    """Products and sums in bf16, per second."""
    reached: float
    memory: float
    """Bytes of one GPU."""
    memory_bandwidth: float
    """Bytes per second that it reads and writes."""
    in_node: int
    within: float
    """Bytes per second that a GPU sends to the others of its node."""
    between: float
    """The same to GPUs of other nodes."""

    def bandwidth(self, ranks: int) -> float:
        return self.within if ranks <= self.in_node else self.between


H100 = Cluster("H100 SXM", PEAKS["H100"], 0.4, 80e9, 3.35e12, 8, 450e9, 50e9)
"""NVLink 4: 900 GB/s both ways together; between nodes 400 Gbit/s a GPU (DGX H100 data sheet).

A share of 0.4 is what PaLM (0.46) and Llama 3 (0.38 to 0.43) report; our own is not measured yet.
"""

MODELS = {
    "124M": Config.preset("gpt2"),
    "1.5B": Config.preset("gpt2-xl"),
    "8B": Config(  # Llama 3: Grattafiori et al. 2024, table 3
        vocab_size=128_256,
        n_ctx=8_192,
        d_model=4_096,
        n_layers=32,
        n_heads=32,
        n_kv_heads=8,
        d_mlp=14_336,
        position="rotary",
        norm="rms",
        norm_bias=False,
        attn_bias=False,
        mlp_bias=False,
        activation="silu",
        gated=True,
        tied=False,
    ),
}
RANKS = (8, 64, 512)


SUM, GATHER, SCATTER = "sum", "gather", "scatter"
EXCHANGES = {"copies": (SUM,), "parts": (GATHER, GATHER, SCATTER)}
"""What ranks exchange in a step of one pass, each time a number for every parameter."""


class Step(NamedTuple):
    """Seconds of a step: its arithmetic with what is copied, its exchange."""

    compute: float
    exchange: float

    @property
    def hidden(self) -> float:
        """If the exchange hides behind the arithmetic, as far as it can."""
        return max(self.compute, self.exchange)

    @property
    def plain(self) -> float:
        """If one waits for the other."""
        return self.compute + self.exchange


def exchanged_bytes(parameters: int, ranks: int, parts: bool) -> float:
    """What every rank sends in a step of one pass.

    >>> exchanged_bytes(1_000, 2, parts=False), exchanged_bytes(1_000, 2, parts=True)
    (4000.0, 6000.0)
    """
    once = (ranks - 1) / ranks * NUMBER * parameters
    # a sum for all is a sum into parts that are gathered
    return once * sum(2 if name == SUM else 1 for name in EXCHANGES["parts" if parts else "copies"])


def copied_bytes(parameters: int, parts: bool) -> float:
    """What a rank copies in a step of one pass, each byte read and written.

    >>> copied_bytes(1_000, parts=True)
    24000
    """
    return 2 * NUMBER * parameters * len(EXCHANGES["parts"]) if parts else 0


def held_bytes(config: Config, ranks: int, parts: bool) -> float:
    """What a rank holds of weights, gradient and moments, and of blocks that are gathered."""
    total = parameter_count(config)
    if not parts:
        return 4 * NUMBER * total
    with torch.device("meta"):
        block = sum(p.numel() for p in Decoder(config.replace(n_layers=1)).blocks.parameters())
    others = total - config.n_layers * block  # the embeddings, gathered with the model itself
    return 4 * NUMBER * total / ranks + NUMBER * (others + 2 * block)


def activation_bytes(config: Config, tokens: int) -> float:
    """With activation checkpointing: what enters every block, and one block's own values."""
    mlp = config.d_mlp * (3 if config.gated else 2)
    block = 4 * config.n_heads * config.d_head + mlp + 4 * config.d_model
    return NUMBER * tokens * (config.n_layers * config.d_model + block)


def step_of(config: Config, ranks: int, parts: bool, cluster: Cluster) -> Step:
    """Blocks are computed twice, forward: four thirds of the arithmetic."""
    arithmetic = 4 / 3 * flops_per_token(config) * TOKENS
    parameters = parameter_count(config)
    copying = copied_bytes(parameters, parts) / cluster.memory_bandwidth
    sent = exchanged_bytes(parameters, ranks, parts)
    return Step(
        arithmetic / (cluster.peak * cluster.reached) + copying, sent / cluster.bandwidth(ranks)
    )


def three_digits(number: float) -> str:
    """A large number, rounded to what a model on paper can mean.

    >>> three_digits(2_775_600)
    '2,780,000'
    """
    return f"{float(f'{number:.3g}'):,.0f}"


def table(cluster: Cluster = H100) -> str:
    """Tokens per second and memory of every model on every number of GPUs, as lines."""
    lines = [
        f"{cluster.name}, {TOKENS:,} tokens a GPU and step, activation checkpointing, fp32 weights",
        "model   GPUs  kind     tokens/s: hidden - plain       exchange/compute   memory a GPU",
    ]
    for name, config in MODELS.items():
        for ranks in RANKS:
            parts = held_bytes(config, ranks, parts=False) > cluster.memory / 2
            step = step_of(config, ranks, parts, cluster)
            memory = held_bytes(config, ranks, parts) + activation_bytes(config, TOKENS)
            fits = "" if memory < cluster.memory else "  too much"
            speeds = (ranks * TOKENS / seconds for seconds in (step.plain, step.hidden))
            slow, fast = map(three_digits, speeds)
            kind = "parts" if parts else "copies"
            lines.append(
                f"{name:6} {ranks:>5}  {kind:7} {fast:>12} - {slow:>12}"
                f" {step.exchange / step.compute:>18.0%} {memory / 1e9:>11.0f} GB{fits}"
            )
    return "\n".join(lines)
