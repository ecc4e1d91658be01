"""How to train: one frozen description that checks itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from glassformer.describe import short_repr
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model.config import typed

DECAYS = ("cosine", "linear")
DTYPES = ("fp32", "bf16")
OPTIMIZERS = ("adamw", "muon")
LARGEST = 1e10  # of any rate: two of them multiplied are still fp32 numbers
LARGEST_COUNT = 10**9  # of steps, blocks, passes: centuries of work


@dataclass(frozen=True, repr=False)
class Recipe:
    """The choices of a training run; everything that happens follows from them, data and weights.

    Batches: `steps` updates, each over `accumulate` forward passes of `batch_size` blocks.
    Optimizer: adamw with peak learning rate `lr`, `beta1`, `beta2`, `weight_decay` on matrices
    only; or muon with `muon_lr`, `momentum` and the same decay for the matrices of the blocks, and
    AdamW for the rest; gradients are clipped to the norm `clip` (0: never). Schedule, of both
    rates: `warmup_steps` of linear warm-up, then `decay` (cosine or linear) to `final_lr` x `lr` at
    the last step.
    Watching: `eval_every`, `sample_every`, `save_every` in steps, and at the end (0: never; the end
    is always saved);
    `patience` evaluations in a row without a better held-out loss end the run (0: never);
    `snapshot_mb` of disk for snapshots at log-spaced steps (0: none).
    Arithmetic: `dtype` fp32 or bf16 (bf16 products, fp32 weights); `compile` the forward and
    backward pass. `seed` decides initial weights, the order of the data and dropout.

    >>> Recipe(steps=100, lr=3e-3).blocks_per_step
    32
    """

    steps: int = 1000
    batch_size: int = 32
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float = 1e-3
    muon_lr: float = 0.04
    momentum: float = 0.95
    warmup_steps: int = 50
    decay: str = "cosine"
    final_lr: float = 0.1
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    eval_every: int = 100
    sample_every: int = 0
    save_every: int = 100
    patience: int = 0
    snapshot_mb: int = 256
    dtype: str = "fp32"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, typed(field, getattr(self, field.name)))
        for name in ("steps", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise GlassformerError(f"{name}={getattr(self, name)} must be at least 1")
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, str | bool) and not 0 <= value < float("inf"):
                raise GlassformerError(f"{name}={value} must be a finite number, 0 or more")
            if isinstance(value, float) and value > LARGEST:
                raise GlassformerError(
                    f"{name}={value} is beyond {LARGEST:.0e}, where no fp32 weight could follow;"
                    " give a smaller one"
                )
            if isinstance(value, int) and name != "seed" and value > LARGEST_COUNT:
                raise GlassformerError(
                    f"{name}={value} is beyond {LARGEST_COUNT:,}, the most there can be"
                )
        if self.seed >= 2**64:
            raise GlassformerError(f"seed={self.seed} has more than 64 bits; give one below 2^64")
        for name, usual in {"lr": "1e-3", "muon_lr": "0.04"}.items():
            if getattr(self, name) == 0:
                raise GlassformerError(
                    f"{name}=0 would leave every weight as it is; give for example {usual}"
                )
        for name in ("beta1", "beta2", "momentum"):
            if getattr(self, name) >= 1:
                raise GlassformerError(
                    f"{name}={getattr(self, name)} is the weight of the past in a moving average;"
                    " give 0 or more, below 1"
                )
        choices = {"decay": DECAYS, "dtype": DTYPES, "optimizer": OPTIMIZERS}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise GlassformerError(
                    f"{name}={value!r} is none of {', '.join(allowed)}."
                    f"{did_you_mean(value, allowed)}"
                )

    @property
    def blocks_per_step(self) -> int:
        return self.batch_size * self.accumulate

    def __repr__(self) -> str:
        return short_repr(self)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some fields changed."""
        return Recipe.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """A recipe from its fields, as in a preset's [training]; an unknown one is refused."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise GlassformerError(
                    f"{name!r} is not a field of a training recipe.{did_you_mean(name, known)}"
                )
        return cls(**{name: typed(known[name], value) for name, value in data.items()})
