"""What the parts of a block are built from: each one's share of the configuration, in one layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from glassformer.checked import Checked, Choice, Range
from glassformer.errors import GlassformerError

Positive = Annotated[float, Range(above=0, low="must be positive")]
Factors = Annotated[tuple[float, ...], Range(above=0, low="must be positive")]
LONGROPE = "longrope"
ADAPTABLE = ("W_Q", "W_K", "W_V", "W_O", "W_gate", "W_in", "W_out")


@dataclass(frozen=True, repr=False)
class Lora(Checked):
    """Low-rank adapters: of what rank, of how much weight, beside which matrices of every block.

    An adapter adds x A B alpha / rank to x W, and W is frozen (Hu et al. 2022, section 4.1).
    """

    noun: ClassVar[str] = "set of adapters"

    rank: Annotated[int, Range(1, 2**20)]
    alpha: Positive
    on: Annotated[tuple[str, ...], Choice(ADAPTABLE)] = ("W_Q", "W_V")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.on:
            raise GlassformerError(f"adapters stand beside matrices; name some of {ADAPTABLE}")
        object.__setattr__(self, "on", tuple(name for name in ADAPTABLE if name in self.on))

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True, repr=False)
class RotaryScaling(Checked):
    """How rotary frequencies are changed for texts longer than a model was first trained on.

    `kind` linear: all divided by `factor` (Chen et al. 2023, section 2.3). llama3 and yarn: those
    of pairs that turn less than `low` times in `original_n_ctx` positions, not those of pairs that
    turn more than `high` times, and in between a mix, by the number of turns (llama3: Grattafiori
    et al. 2024, section 3.4.3 gives the idea, Llama's own code the formula) or by the pair's number
    (yarn: Peng et al. 2023, section 3.2), counted in `whole_pairs` or not. yarn also multiplies
    cosines and sines by `amplitude`.
    longrope: each pair's frequency is divided by a factor of its own: one of `short` for a text of
    at most `original_n_ctx` tokens, of `long` for a longer one, all of it; cosines and sines are
    multiplied by `amplitude` (Ding et al. 2024, section 3).
    """

    noun: ClassVar[str] = "rotary scaling"

    kind: Annotated[str, Choice(("linear", "llama3", "yarn", LONGROPE))]
    factor: Positive = 1.0
    low: Positive = 1.0
    high: Positive = 4.0
    original_n_ctx: Annotated[int, Range(1)] = 8192
    amplitude: Positive = 1.0
    whole_pairs: bool = True
    short: Factors = ()
    long: Factors = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise GlassformerError(f"low={self.low:g} must be less than high={self.high:g}")

    def params(self, base: float, dims: int) -> dict[str, float]:
        """The numbers of the formula for `dims` dimensions (`ops.ROTATIONS`)."""
        if self.kind == "linear":
            return {"factor": self.factor}
        if self.kind == "llama3":
            ends = {"low": self.low, "high": self.high, "original": self.original_n_ctx}
            return {"factor": self.factor, **ends}

        def pair(turns: float) -> float:
            """The pair of dimensions, a fraction too, that turns so often."""
            wavelength = self.original_n_ctx / (turns * 2 * math.pi)
            return dims * math.log(wavelength) / (2 * math.log(base))

        first, last = pair(self.high), pair(self.low)
        if self.whole_pairs:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, dims - 1)
        last += 0.001 * (first == last)
        return {
            "factor": self.factor,
            "low": float(first),
            "high": float(last),
            "amplitude": self.amplitude,
        }


@dataclass(frozen=True)
class NormPart:
    """A norm: layer or rms, its learned parts, and what is added under the root."""

    kind: str
    gain: bool
    bias: bool
    eps: float
    gain_from_one: bool = False


@dataclass(frozen=True)
class MLPPart:
    """The MLP (feed-forward layer)."""

    d_model: int
    d_mlp: int
    activation: str
    gated: bool
    bias: bool
    lora: Lora | None = None


@dataclass(frozen=True)
class ExpertsPart:
    """`n` MLPs, all gated, of which a token goes through `chosen`.

    `share`: the chosen ones' weights sum to 1. `limit`: of what gates and neurons pass, 0 for none;
    `slope`: of the sigmoid of gates that have a limit.
    """

    n: int
    chosen: int
    d_model: int
    d_mlp: int
    activation: str
    bias: bool
    router_bias: bool
    share: bool
    limit: float
    slope: float


@dataclass(frozen=True)
class RotaryPart:
    """A table of rotations: of `dims` of a head's dimensions, up to n_ctx positions.

    `name`: which layers turn so, "all" or, of those with a window and a base of their own, "local".
    """

    name: str
    n_ctx: int
    d_head: int
    dims: int
    base: float
    scaling: RotaryScaling | None


@dataclass(frozen=True)
class AttentionPart:
    """The attention of one layer; 0 of `window`, `reach`, `scale` and `cap` is none."""

    layer: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    qkv_bias: bool
    out_bias: bool
    qk_norm: NormPart | None
    qk_norm_wide: bool
    qk_norm_last: bool
    window: int
    scale: float
    cap: float
    alibi: bool
    alibi_bf16: bool
    sinks: bool
    n_ctx: int
    causal: bool = True
    reach: int = 0
    lora: Lora | None = None

    @property
    def group(self) -> int:
        """Heads of queries that share a head of keys and values."""
        return self.n_heads // self.n_kv_heads

    @property
    def widths(self) -> tuple[int, int, int]:
        """Columns of W_Q, W_K and W_V, all heads side by side."""
        shared = self.n_kv_heads * self.d_head
        return self.n_heads * self.d_head, shared, shared
