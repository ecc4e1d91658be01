"""Random operands for every op: what its kernel is called with."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

import glassformer.ops
from glassformer import ops
from glassformer.kernels.attention import alibi_even, alibi_table
from glassformer.kernels.positions import pair_frequencies, rotary_angles, sinusoid_table
from glassformer.ops.loss import IGNORED

for module in pkgutil.iter_modules(glassformer.ops.__path__):  # each registers its ops
    importlib.import_module(f"glassformer.ops.{module.name}")


@dataclass
class Draws:
    """Lengths of the axes, a dtype, and random tensors from one seed."""

    sizes: dict[str, int]
    dtype: torch.dtype
    optional: bool  # whether optional operands (biases, gains) are there
    generator: torch.Generator

    def size(self, axis: str) -> int:
        return self.sizes[axis]

    def normal(self, axes: str) -> Tensor:
        shape = [self.sizes[axis] for axis in axes.split()]
        # a few numbers are exactly zero, where kinks are
        x = torch.randn(shape, generator=self.generator, dtype=torch.float64) * 2
        return torch.where(x.abs() < 0.05, 0.0, x).to(self.dtype)

    def maybe(self, axes: str) -> Tensor | None:
        return self.normal(axes) if self.optional else None

    def positive(self, axes: str) -> Tensor:
        return self.normal(axes).abs() + 0.1

    def scores(self) -> Tensor:
        """Attention scores with later keys masked."""
        raw = self.normal("batch head pos pos")
        return raw.masked_fill(torch.ones(raw.shape[-2:]).triu(1).bool(), -torch.inf)

    def ids(self, axes: str = "batch pos", below: str = "vocab") -> Tensor:
        shape = [self.sizes[axis] for axis in axes.split()]
        return torch.randint(self.sizes[below], shape, generator=self.generator)

    def two(self, axes: str) -> Tensor:
        """Twice as many of the first axis: the rows of pairs."""
        return torch.cat([self.normal(axes), self.normal(axes)])

    def targets(self) -> Tensor:
        targets = self.ids()
        if targets.numel() > 1:
            targets.view(-1)[0] = IGNORED
        return targets

    def seen(self) -> Tensor:
        """Which keys are no padding, [batch, 1, 1, key]."""
        return (self.normal("batch pos") > -1)[:, None, None]

    def begins(self) -> Tensor:
        """Where the document of each query begins, [batch, 1, query, 1]: half of them at itself."""
        pos = torch.arange(self.size("pos"))
        return torch.where(self.normal("batch pos") > 0, pos, 0)[:, None, :, None]

    def probs(self) -> Tensor:
        return torch.softmax(self.normal("vocab").double(), -1)

    def ranking(self) -> Tensor:
        return torch.randperm(self.sizes["vocab"], generator=self.generator)


AXES = (
    *("batch", "pos", "head", "kv_head", "d_model", "d_head", "d_mlp", "expert", "vocab"),
    *("d_lora", "element", "rest", "pair", "reply"),
)


@st.composite
def draws(draw: st.DrawFn, dtype: torch.dtype) -> Draws:
    sizes = {axis: draw(st.integers(1, 5), label=axis) for axis in AXES}
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6), label="seed"))
    return Draws(sizes, dtype, draw(st.booleans(), label="optional"), generator)


Case = Callable[[Draws], tuple[tuple[Any, ...], dict[str, Any]]]


def _project(
    d: Draws, matrices: int, count: str, axis: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Operands of a product that gives queries, or keys and values, for so many heads."""
    width = matrices * d.size(axis) * d.size("d_head")
    x, W = d.normal("batch pos d_model"), d.normal("d_model")
    W = W[:, None] * torch.linspace(0.5, 1.5, width).to(d.dtype)
    b = torch.linspace(-1, 1, width).to(d.dtype) if d.optional else None
    return (x, W, b), {count: d.size(axis)}


def _project_qkv(d: Draws, shared: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
    n_kv_heads = d.size("kv_head" if shared else "head")
    n_heads = 2 * n_kv_heads if shared else n_kv_heads
    width = (n_heads + 2 * n_kv_heads) * d.size("d_head")
    x, W = d.normal("batch pos d_model"), d.normal("d_model")
    W_QKV = W[:, None] * torch.linspace(0.5, 1.5, width).to(d.dtype)
    b_QKV = torch.linspace(-1, 1, width).to(d.dtype) if d.optional else None
    return (x, W_QKV, b_QKV), {"n_heads": n_heads, "n_kv_heads": n_kv_heads}


def _two_a_group(d: Draws) -> torch.Tensor:
    """[batch, pos, head, d_head] with two heads to a head of keys and values."""
    return torch.cat(
        [d.normal("batch pos kv_head d_head"), d.normal("batch pos kv_head d_head")], 2
    )


def _shared_mix(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    pattern = torch.cat([d.normal("batch kv_head pos pos"), d.normal("batch kv_head pos pos")], 1)
    return (pattern.softmax(-1), d.normal("batch pos kv_head d_head")), {"group": 2}


def _merge_heads(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    W_O = d.normal("head d_head d_model").flatten(0, 1)
    return (d.normal("batch pos head d_head"), W_O, d.maybe("d_model")), {}


def _lora_down_heads(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (
        d.normal("batch pos head d_head"),
        d.normal("head d_head d_lora").flatten(0, 1),
        None,
    ), {}


def _lora_up_heads(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    B = d.normal("d_lora head d_head").flatten(1)
    return (d.normal("batch pos d_lora"), B, None), {"n_heads": d.size("head")}


def _sinusoid(d: Draws, halves: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
    width = d.size("d_model")
    table = sinusoid_table(d.size("pos"), width, halves).to(d.dtype)
    more = {"half": (width + 1) // 2} if halves else {}
    return (torch.arange(d.size("pos")), table), {"width": width, **more}


SCALINGS: dict[str, dict[str, float]] = {
    "": {},
    "part": {},
    "linear": {"factor": 4.0},
    "llama3": {"factor": 4.0, "low": 0.2, "high": 1.0, "original": 8},
    "yarn": {"factor": 4.0, "low": 0.3, "high": 2.5, "amplitude": 1.2},
}


def _table(function: Callable[[Tensor], Tensor], kind: str = "") -> Case:
    """Positions and a table of cosines or sines; where it is no whole rotation, a part turns."""

    def case(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        dims, scaling = 2 * d.size("d_head"), SCALINGS[kind]
        width = dims + 3 if kind else dims
        options = {name: value for name, value in scaling.items() if name != "amplitude"}
        table = function(rotary_angles(d.size("pos"), width, dims, 100.0, kind, **options))
        table[:, :dims] *= scaling.get("amplitude", 1.0)
        sizes = {"base": 100.0, "half": dims // 2, "width": dims}
        return (torch.arange(d.size("pos")), table.to(d.dtype)), {**sizes, **scaling}

    return case


def _pair_frequency(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Of a text that ends right after, right before or in the original context."""
    factors, width = 1 + torch.rand(2, d.size("d_head"), dtype=torch.float64), 2 * d.size("d_head")
    sizes = {"base": 100.0, "half": d.size("d_head"), "width": width}
    table = pair_frequencies(factors, width + 3, 100.0)
    return (torch.tensor(d.size("pos")), factors, table), {"original": 3, **sizes}


def _row_by_length(function: Callable[[Tensor], Tensor]) -> Case:
    def case(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        n, half, original = d.size("pos"), d.size("d_head"), 3
        frequency = F.pad(torch.rand(2 * half, dtype=torch.float64), (0, 3))
        rows = function(torch.outer(torch.arange(n).double(), frequency))
        rows[:, : 2 * half] *= 1.2
        short = F.pad(rows[:original], (0, 0, 0, max(original - n, 0)))
        table = torch.cat([short, rows]).to(d.dtype)
        known = (torch.arange(n), frequency, torch.tensor(n - 1), table)
        return known, {"original": original, "half": half, "amplitude": 1.2}

    return case


def _heads(d: Draws, head: str = "head") -> torch.Tensor:
    """[batch, pos, head, d_head] with an even number of dimensions."""
    x = f"batch pos {head} d_head"
    return torch.cat([d.normal(x), d.normal(x)], -1)


def _turn(head: str, part: bool = False) -> Case:
    def case(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = _heads(d, head)
        half = x.shape[-1] // 2
        return (F.pad(x, (0, 3)) if part else x,), {"half": half}

    return case


def _rotary(head: str) -> Case:
    """A rotation of all dimensions, or where operands are optional of all but three."""

    def case(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, rest = _heads(d, head), 3 if d.optional else 0
        dims = x.shape[-1]
        angles = rotary_angles(d.size("pos"), dims + rest, dims, 100.0)
        tables = (angles.cos().to(d.dtype), angles.sin().to(d.dtype))
        return (F.pad(x, (0, rest), value=0.5), *tables), {"dims": dims}

    return case


def _cap(prefix: str, axes: str) -> dict[str, Case]:
    """The steps of a cap, and the whole."""
    return {
        f"{prefix}_ratio": lambda d: ((d.normal(axes),), {"cap": 1.5}),
        f"{prefix}_tanh": lambda d: ((d.normal(axes),), {}),
        f"{prefix}_capped": lambda d: ((d.normal(axes),), {"factor": 1.5}),
        f"cap_{prefix}": lambda d: ((d.normal(axes),), {"cap": 1.5}),
    }


def _qk_norm(over: str, axes: str) -> dict[str, Case]:
    """The steps of the norm of queries or keys, over `axes`, and the whole."""
    each = f"batch pos {over} d_head"
    rows = "batch pos" if axes.count(" ") else f"batch pos {over}"
    prefix = {"head": "", "kv_head": "kv_"}[over] + "wide" if axes.count(" ") else over

    def divided(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (d.normal(each), d.positive(rows)), {}

    def gained(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (d.normal(each), d.normal(axes), None), {}

    return {
        f"{prefix}_square": lambda d: ((d.normal(each),), {}),
        f"{prefix}_mean_square": lambda d: ((d.normal(each) ** 2,), {}),
        f"{prefix}_scale": lambda d: ((d.normal(rows).abs(),), {"eps": 1e-5}),
        f"{prefix}_standardize": divided,
        f"{prefix}_divide": divided,
        f"{prefix}_gain_and_bias": gained,
        f"{prefix}_gain_from_one": gained,
        f"{prefix}_norm": lambda d: ((d.normal(each), d.maybe(axes)), {"eps": 1e-5}),
    }


def _over(axes: str, prefix: str) -> dict[str, Case]:
    """Activations and what they are made of, along these axes."""

    def one(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (d.normal(axes),), {}

    def two(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (d.normal(axes), d.normal(axes)), {}

    steps = ("squared", "normal_cdf", "gelu_argument", "tanh", "sigmoid")
    neurons = ("sigmoid_neuron", "tanh_neuron")
    cases = dict.fromkeys((*ops.ACTIVATIONS, *steps, *neurons), one)
    return {prefix + name: case for name, case in {**cases, "gate": two, "half_gate": two}.items()}


K = 2  # experts of a token, or as many as there are
NEURONS = "batch pos chosen d_mlp"


def _experts(d: Draws) -> torch.Tensor:
    """[batch, pos, choice], of each token different ones."""
    d.sizes["chosen"] = min(K, d.size("expert"))
    return d.normal("batch pos expert").argsort(-1)[..., : d.size("chosen")]


def _expert_linear(x: str, rows: str, columns: str) -> Case:
    def case(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        experts = _experts(d)
        W, b = d.normal(f"expert {rows} {columns}"), d.maybe(f"expert {columns}")
        return (d.normal(x), W, b, experts), {}

    return case


def _of_neurons(n: int, **params: float) -> Case:
    def case(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
        _experts(d)
        return tuple(d.normal(NEURONS) for _ in range(n)), params

    return case


def _mix_experts(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    experts = _experts(d)
    return (d.normal("batch pos chosen d_model"), d.normal("batch pos expert"), experts), {}


def _mixture(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    experts = _experts(d)
    up, down = "expert d_model d_mlp", "expert d_mlp d_model"
    matrices = (d.normal(up), d.normal(up), d.normal(down))
    biases = (d.maybe("expert d_mlp"), d.maybe("expert d_mlp"), d.maybe("expert d_model"))
    options = {"limit": 0.7, "slope": 1.7} if d.optional else {}
    x, weights = d.normal("batch pos d_model"), d.normal("batch pos expert").softmax(-1)
    return (x, weights, experts, *matrices, *biases), {"activation": "silu", **options}


EXPERTS: dict[str, Case] = {
    "router": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model expert"), d.maybe("expert")),
        {},
    ),
    "router_max": lambda d: ((d.normal("batch pos expert"),), {}),
    "router_exp": lambda d: ((d.normal("batch pos expert"), d.normal("batch pos")), {}),
    "router_sum": lambda d: ((d.positive("batch pos expert"),), {}),
    "share_of_expert": lambda d: ((d.positive("batch pos expert"), d.positive("batch pos")), {}),
    "router_probs": lambda d: ((d.normal("batch pos expert"),), {}),
    "expert_ranks": lambda d: ((d.normal("batch pos expert").round(),), {}),
    "choose_experts": lambda d: (
        (d.normal("batch pos expert").argsort(-1),),
        {"k": min(K, d.size("expert"))},
    ),
    **dict.fromkeys(
        ("keep_experts", "keep_before_sharing"),
        lambda d: ((p := d.normal("batch pos expert"), p.argsort(-1)), {"k": K}),
    ),
    "kept_sum": lambda d: ((d.positive("batch pos expert"),), {}),
    "share_among_kept": lambda d: ((d.positive("batch pos expert"), d.positive("batch pos")), {}),
    "experts_gate": _expert_linear("batch pos d_model", "d_model", "d_mlp"),
    "experts_up": _expert_linear("batch pos d_model", "d_model", "d_mlp"),
    "experts_out": _expert_linear(NEURONS, "d_mlp", "d_model"),
    "experts_open_gate": _of_neurons(2),
    "limit_gate": _of_neurons(1, limit=0.7),
    "steepen_gate": _of_neurons(1, factor=1.7),
    "gate_sigmoid": _of_neurons(1),
    "limited_gate": _of_neurons(2),
    "limit_up": _of_neurons(1, limit=0.7),
    "limit_down": _of_neurons(1, limit=0.7),
    "raise_up": _of_neurons(1),
    "open_limited_gate": _of_neurons(2),
    "mix_experts": _mix_experts,
    "mixture": _mixture,
    **_over("batch pos expert d_mlp", "expert_"),
}


def _rotation(d: Draws) -> tuple[torch.Tensor, torch.Tensor]:
    width = 2 * d.size("d_head")
    angles = rotary_angles(d.size("pos"), width, width, 100.0)
    return angles.cos().to(d.dtype), angles.sin().to(d.dtype)


def _chosen(d: Draws) -> tuple[tuple[Any, ...], dict[str, Any]]:
    row, last = d.size("batch") - 1, d.size("pos") - 1
    settings = {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.05} if d.optional else {}
    options = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, **settings}
    more = {"row": row, "last": last, "repetition_penalty": 1.3, "seed": 5, "index": 2}
    return (d.normal("batch pos vocab"), d.ids()), {**options, **more}


# fmt: off
CASES: dict[str, Case] = {
    # embedding
    "embed_tokens": lambda d: ((d.normal("vocab d_model"), d.ids()), {}),
    "embed_positions": lambda d: ((d.normal("pos d_model"), torch.arange(d.size("pos"))), {}),
    "embed_types": lambda d: ((d.normal("vocab d_model"), d.ids()), {}),
    "distance_buckets": lambda d: (
        (torch.arange(d.size("pos")),),
        {
            "n_keys": d.size("pos"),
            "exact": 1,
            "last": 2,
            "far": 3,
            "half": 3 * d.optional,
        },
    ),
    "embed_distances": lambda d: (
        (d.normal("vocab head"), d.ids("pos pos")), {}
    ),
    "bias_scores": lambda d: ((d.normal("batch head pos pos"), d.normal("pos pos head")), {}),
    "embed_sinusoid": _sinusoid,
    "embed_sinusoid_halves": lambda d: _sinusoid(d, halves=True),
    "add_positions": lambda d: ((d.normal("batch pos d_model"), d.normal("pos d_model")), {}),
    "tie": lambda d: ((d.normal("vocab d_model"),), {}),
    # xIELU
    "strength_above": lambda d: ((d.normal("batch")[0],), {}),
    "strength_below": lambda d: ((d.normal("batch")[0],), {"beta": 0.5}),
    "xielu_slope": lambda d: ((d.normal("batch pos d_mlp"), d.normal("batch")[0]), {"beta": 0.5}),
    "xielu_above": lambda d: ((d.normal("batch pos d_mlp"), d.normal("batch pos d_mlp")), {}),
    "xielu_exp": lambda d: ((d.normal("batch pos d_mlp"),), {"least": -1e-6}),
    "xielu_below": lambda d: (
        (d.normal("batch pos d_mlp"), d.normal("batch pos d_mlp"), d.normal("batch")[0]),
        {"beta": 0.5},
    ),
    "choose_side": lambda d: (tuple(d.normal("batch pos d_mlp") for _ in range(3)), {}),
    "xielu": lambda d: (
        (d.normal("batch pos d_mlp"), d.normal("batch")[0], d.normal("batch")[0]), {}
    ),
    # norm
    "mean": lambda d: ((d.normal("batch pos d_model"),), {}),
    "center": lambda d: ((d.normal("batch pos d_model"), d.normal("batch pos")), {}),
    "square": lambda d: ((d.normal("batch pos d_model"),), {}),
    "variance": lambda d: ((d.normal("batch pos d_model") ** 2,), {}),
    "norm_scale": lambda d: ((d.normal("batch pos").abs(),), {"eps": 1e-5}),
    "standardize": lambda d: ((d.normal("batch pos d_model"), d.positive("batch pos")), {}),
    "normalize": lambda d: ((d.normal("batch pos d_model"), d.positive("batch pos")), {}),
    "gain_and_bias": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model"), d.maybe("d_model")), {}
    ),
    "gain_from_one": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model"), d.maybe("d_model")), {}
    ),
    "rms_square": lambda d: ((d.normal("batch pos d_model"),), {}),
    "rms_mean_square": lambda d: ((d.normal("batch pos d_model") ** 2,), {}),
    "rms_scale": lambda d: ((d.normal("batch pos").abs(),), {"eps": 1e-5}),
    "rms_normalize": lambda d: ((d.normal("batch pos d_model"), d.positive("batch pos")), {}),
    "rms_divide": lambda d: ((d.normal("batch pos d_model"), d.positive("batch pos")), {}),
    # attention
    "project_qkv": _project_qkv,
    "project_q": lambda d: _project(d, 1, "n_heads", "head"),
    "project_kv": lambda d: _project(d, 2, "n_kv_heads", "head"),
    "project_shared_kv": lambda d: _project(d, 2, "n_kv_heads", "kv_head"),
    "dot_products": lambda d: (
        (d.normal("batch pos head d_head"), d.normal("batch pos head d_head")), {}
    ),
    "project_shared_qkv": lambda d: _project_qkv(d, shared=True),
    "shared_dot_products": lambda d: (
        (_two_a_group(d), d.normal("batch pos kv_head d_head")), {"group": 2}
    ),
    "shared_mix": _shared_mix,
    "multiply_scores": lambda d: ((d.normal("batch head pos pos"),), {"factor": 0.3}),
    **_cap("scores", "batch head pos pos"),
    "slope_scores": lambda d: (
        (
            d.normal("batch head pos pos"),
            alibi_table(d.size("head"), d.size("pos") + 1).to(d.dtype),
        ),
        {"even": alibi_even(d.size("head"))},
    ),
    "rounded_slope_scores": lambda d: (
        (
            d.normal("batch head pos pos"),
            alibi_table(d.size("head"), d.size("pos") + 1, d.size("d_head")).to(d.dtype),
        ),
        {"even": alibi_even(d.size("head")), "d_head": d.size("d_head")},
    ),
    "window_mask": lambda d: ((d.normal("batch head pos pos"),), {"window": 2}),
    "last_window_mask": lambda d: ((d.normal("batch head pos pos")[:, :, -1:],), {"window": 2}),
    "near_mask": lambda d: ((d.normal("batch head pos pos"),), {"reach": 1}),
    "padding_mask": lambda d: ((d.normal("batch head pos pos"), d.seen()), {}),
    "document_mask": lambda d: ((d.scores(), d.begins()), {}),
    "near_padding_mask": lambda d: ((d.normal("batch head pos pos"), d.seen()), {}),
    "scale_scores": lambda d: ((d.normal("batch head pos pos"),), {"d_head": d.size("d_head")}),
    "scores_max": lambda d: ((d.scores(),), {}),
    "keys_sum": lambda d: ((d.scores().exp(),), {}),
    "sink_max": lambda d: ((d.normal("batch head pos"), d.normal("head")), {}),
    "sink_exp": lambda d: ((d.normal("head"), d.normal("batch head pos")), {}),
    "sink_sum": lambda d: ((d.positive("batch head pos"), d.positive("batch head pos")), {}),
    "sink_divide": lambda d: ((d.scores().exp(), d.positive("batch head pos")), {}),
    "causal_mask": lambda d: ((d.normal("batch head pos pos"),), {}),
    "row_max": lambda d: ((d.scores(),), {}),
    "row_exp": lambda d: ((d.scores(), d.scores().amax(-1)), {}),
    "row_sum": lambda d: ((d.scores().exp(),), {}),
    "row_divide": lambda d: ((d.scores().exp(), d.positive("batch head pos")), {}),
    "mix": lambda d: ((d.scores().softmax(-1), d.normal("batch pos head d_head")), {}),
    "merge_heads": _merge_heads,
    # rotary positions, QK-norm
    "rotary_cos": _table(torch.cos),
    "rotary_sin": _table(torch.sin),
    **{f"rotary_cos_{kind}": _table(torch.cos, kind) for kind in SCALINGS if kind},
    **{f"rotary_sin_{kind}": _table(torch.sin, kind) for kind in SCALINGS if kind},
    "last_position": lambda d: ((torch.arange(d.size("pos")),), {}),
    "pair_frequency": _pair_frequency,
    "rotary_cos_longrope": _row_by_length(torch.cos),
    "rotary_sin_longrope": _row_by_length(torch.sin),
    "quarter_turn": _turn("head"),
    "quarter_turn_part": _turn("head", part=True),
    "rotate": lambda d: ((_heads(d), _heads(d), *_rotation(d)), {}),
    "shared_quarter_turn": _turn("kv_head"),
    "shared_quarter_turn_part": _turn("kv_head", part=True),
    "shared_rotate": lambda d: ((_heads(d, "kv_head"), _heads(d, "kv_head"), *_rotation(d)), {}),
    **_qk_norm("head", "d_head"),
    **_qk_norm("kv_head", "d_head"),
    **_qk_norm("head", "head d_head"),
    **_qk_norm("kv_head", "kv_head d_head"),
    # feed-forward
    "mlp_in": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model d_mlp"), d.maybe("d_mlp")), {}
    ),
    "mlp_gate": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model d_mlp"), d.maybe("d_mlp")), {}
    ),
    "mlp_up": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model d_mlp"), d.maybe("d_mlp")), {}
    ),
    "open_gate": lambda d: ((d.normal("batch pos d_mlp"), d.normal("batch pos d_mlp")), {}),
    "mlp_out": lambda d: (
        (d.normal("batch pos d_mlp"), d.normal("d_mlp d_model"), d.maybe("d_model")), {}
    ),
    **_over("batch pos d_mlp", ""),
    **EXPERTS,
    # adapters
    "lora_down": lambda d: ((d.normal("batch pos d_model"), d.normal("d_model d_lora"), None), {}),
    "lora_down_heads": _lora_down_heads,
    "lora_up": lambda d: ((d.normal("batch pos d_lora"), d.normal("d_lora d_model"), None), {}),
    "lora_up_heads": _lora_up_heads,
    "lora_scaled": lambda d: ((d.normal("batch pos d_model"),), {"factor": 1.5}),
    "lora_scaled_heads": lambda d: ((d.normal("batch pos head d_head"),), {"factor": 1.5}),
    "lora_add": lambda d: ((d.normal("batch pos d_model"), d.normal("batch pos d_model")), {}),
    "lora_add_heads": lambda d: (
        (d.normal("batch pos head d_head"), d.normal("batch pos head d_head")), {}
    ),
    # residual stream
    "carry": lambda d: ((d.normal("batch pos d_model"),), {}),
    "add": lambda d: ((d.normal("batch pos d_model"), d.normal("batch pos d_model")), {}),
    "scale_embed": lambda d: ((d.normal("batch pos d_model"),), {"factor": 3.0}),
    "scale_branch": lambda d: ((d.normal("batch pos d_model"),), {"factor": 0.2}),
    "scale_final": lambda d: ((d.normal("batch pos d_model"),), {"factor": 0.2}),
    **_cap("logits", "batch pos vocab"),
    "dropout": lambda d: ((d.normal("batch pos d_model"),), {"p": 0.3}),
    # logits, probabilities, loss
    "unembed": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model vocab"), d.maybe("vocab")), {}
    ),
    "logits_max": lambda d: ((d.normal("batch pos vocab"),), {}),
    "logits_exp": lambda d: ((d.normal("batch pos vocab"), d.normal("batch pos")), {}),
    "logits_sum": lambda d: ((d.positive("batch pos vocab"),), {}),
    "probs": lambda d: ((d.positive("batch pos vocab"), d.positive("batch pos")), {}),
    "best_prob": lambda d: ((d.normal("batch pos vocab").softmax(-1),), {}),
    "best_token": lambda d: ((d.normal("batch pos vocab").softmax(-1),), {}),
    "log_partition": lambda d: ((d.positive("batch pos"), d.normal("batch pos")), {}),
    "target_logit": lambda d: ((d.normal("batch pos vocab"), d.targets()), {}),
    "token_loss": lambda d: ((d.normal("batch pos"), d.normal("batch pos"), d.targets()), {}),
    "mean_loss": lambda d: ((d.positive("batch pos"), d.targets()), {}),
    # the choice of a token
    "next_logits": lambda d: (
        (d.normal("batch pos vocab"),), {"row": d.size("batch") - 1, "last": d.size("pos") - 1}
    ),
    "penalize": lambda d: ((d.normal("vocab").double(), d.ids()), {"row": 0, "penalty": 1.3}),
    "temper": lambda d: ((d.normal("vocab").double(),), {"temperature": 0.7}),
    "highest": lambda d: ((d.normal("vocab").double(),), {}),
    "exponentiate": lambda d: ((d.normal("vocab").double(), torch.tensor(2.5).double()), {}),
    "total": lambda d: ((d.probs(),), {}),
    "share": lambda d: ((d.probs(), torch.tensor(0.7).double()), {}),
    "ranks": lambda d: ((d.normal("vocab").double().round(),), {}),
    "order": lambda d: ((d.ranking(),), {}),
    "keep_top_k": lambda d: ((d.probs(), d.ranking()), {"k": 2}),
    "accumulate": lambda d: ((d.probs(), d.ranking()), {}),
    "nucleus_size": lambda d: ((d.probs().cumsum(-1),), {"top_p": 0.6}),
    "keep_nucleus": lambda d: ((d.probs(), d.ranking(), torch.tensor(2)), {}),
    "keep_min_p": lambda d: ((p := d.probs(), p.argsort(descending=True)), {"min_p": 0.3}),
    "draw": lambda d: ((), {"seed": 3, "index": d.size("pos")}),
    "drawn_rank": lambda d: ((d.probs().cumsum(-1) * 0.999, torch.tensor(0.4).double()), {}),
    "drawn_token": lambda d: ((d.ranking(), torch.tensor(d.size("vocab") - 1)), {}),
    "argmax": lambda d: ((d.normal("vocab").double().round(),), {}),
    # the optimizer
    "descended_weight": lambda d: ((d.normal("element"), d.normal("element")), {"lr": 1e-3}),
    "sum_of_squares": lambda d: ((d.normal("element"),), {}),
    "clip_factor": lambda d: ((d.positive("element").sum(),), {"max_norm": 1.0}),
    "clipped_gradient": lambda d: ((d.normal("element"), torch.tensor(0.3).to(d.dtype)), {}),
    "first_moment": lambda d: ((d.normal("element"), d.normal("element")), {"beta1": 0.9}),
    "second_moment": lambda d: ((d.positive("element"), d.normal("element")), {"beta2": 0.999}),
    "first_correction": lambda d: ((), {"beta1": 0.9, "t": d.size("element")}),
    "second_correction": lambda d: ((), {"beta2": 0.999, "t": d.size("element")}),
    "decayed_weight": lambda d: ((d.normal("element"),), {"lr": 1e-3, "weight_decay": 0.1}),
    "update_scale": lambda d: (
        (d.positive("element"), torch.tensor(0.1, dtype=torch.float64)), {"eps": 1e-8}
    ),
    "updated_weight": lambda d: (
        (
            *(d.normal("element"), d.normal("element"), d.positive("element")),
            torch.tensor(0.1, dtype=torch.float64),
        ),
        {"lr": 1e-3},
    ),
    # Muon
    "look_ahead": lambda d: ((d.normal("element"), d.normal("element")), {"momentum": 0.95}),
    "matrix_length": lambda d: ((d.normal("d_model rest"),), {}),
    "shorten": lambda d: (
        (d.normal("d_model rest"), d.positive("element").sum()), {"tiny": 1e-7, "dtype": d.dtype}
    ),
    "gram": lambda d: ((d.normal("d_model rest"),), {}),
    "polynomial": lambda d: ((d.normal("d_model d_model"),), {"b": -4.775, "c": 2.0315}),
    "straighten": lambda d: (
        (d.normal("d_model rest"), d.normal("d_model d_model")), {"a": 3.4445}
    ),
    "orthogonal_update": lambda d: (
        (d.normal("d_model rest"), d.normal("d_model rest")), {"lr": 0.02, "scale": 2.0}
    ),
    "orthogonalize": lambda d: ((d.normal("d_model rest"),), {"dtype": d.dtype}),
    "edit": lambda d: (
        (
            (d.normal("element") > 0).to(torch.uint8),
            *(d.normal("element"), d.normal("element")),
        ),
        {},
    ),
    "weight_change": lambda d: ((d.normal("element"), d.normal("element")), {}),
    # composites
    "layer_norm": lambda d: (
        (d.normal("batch pos d_model"), d.maybe("d_model"), d.maybe("d_model")), {"eps": 1e-5}
    ),
    "attention": lambda d: (
        (
            *(d.normal("batch pos head d_head") for _ in "qkv"),
            *(None, d.optional, 0.0, 0, 0.0, None, d.maybe("head")),
        ),
        {},
    ),
    "rms_norm": lambda d: (
        (d.normal("batch pos d_model"), d.maybe("d_model")), {"eps": 1e-5}
    ),
    "softmax_probs": lambda d: ((d.normal("batch pos vocab"),), {}),
    "unembed_cross_entropy": lambda d: (
        (d.normal("batch pos d_model"), d.normal("d_model vocab"), d.maybe("vocab"), d.targets()),
        {},
    ),
    # preferences: rows by twos
    "reply_surprise": lambda d: ((d.normal("batch pos"),), {}),
    "reply_gain": lambda d: ((d.normal("batch"), d.normal("batch")), {}),
    "pair_scores": lambda d: ((d.two("pair"), d.two("pair")), {}),
    "pair_scores_max": lambda d: ((d.normal("pair reply"),), {}),
    "pair_scores_exp": lambda d: ((s := d.normal("pair reply"), s.amax(-1)), {}),
    "pair_scores_sum": lambda d: ((d.positive("pair reply"),), {}),
    "preference": lambda d: ((p := d.positive("pair reply"), p.sum(-1)), {}),
    "pair_log_partition": lambda d: ((d.positive("pair"), d.normal("pair")), {}),
    "pair_loss": lambda d: ((d.normal("pair"), d.normal("pair reply")), {}),
    "preference_loss": lambda d: ((d.normal("pair"),), {}),
    "unembed_preference": lambda d: (
        (
            *(d.two("pair pos d_model"), d.normal("d_model vocab"), d.maybe("vocab")),
            *(d.ids("pair pos").repeat(2, 1), d.two("pair"), d.two("pair")),
        ),
        {},
    ),
    "rotary": _rotary("head"),
    "shared_rotary": _rotary("kv_head"),
    "choose": _chosen,
}
# fmt: on
