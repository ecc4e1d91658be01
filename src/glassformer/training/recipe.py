"""How to train: one frozen description that checks itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from glassformer.checked import Checked, Choice, Range

DTYPES = ("fp32", "bf16")
LARGEST = 1e10  # of any rate: two of them multiplied are still fp32 numbers
LARGEST_COUNT = 10**9  # of steps, blocks, passes: centuries of work

FINITE = "must be a finite number, 0 or more"
_TOO_LARGE = f"is beyond {LARGEST:.0e}, where no fp32 weight could follow; give a smaller one"

Count = Annotated[
    int,
    Range(0, LARGEST_COUNT, low=FINITE, high=f"is beyond {LARGEST_COUNT:,}, the most there can be"),
]
Some = Annotated[
    int, Range(1, LARGEST_COUNT, high=f"is beyond {LARGEST_COUNT:,}, the most there can be")
]
Rate = Annotated[float, Range(0, LARGEST, low=FINITE, high=_TOO_LARGE)]
Past = Annotated[
    float,
    Range(0, below=1, low="is the weight of the past in a moving average; give 0 or more, below 1"),
]


def _rate(usual: str) -> Range:
    """The range of a learning rate."""
    nothing = f"must be a finite number above 0: 0 would leave every weight as it is; say {usual}"
    return Range(above=0, most=LARGEST, low=nothing, high=_TOO_LARGE)


@dataclass(frozen=True, repr=False)
class Recipe(Checked):
    """The choices of a training run; everything that happens follows from them, data and weights.

    Batches: `steps` updates, each over `accumulate` forward passes of `batch_size` blocks.
    Optimizer: adamw with peak learning rate `lr`, `beta1`, `beta2`, `weight_decay` on matrices
    only; or muon with `muon_lr`, `momentum` and the same decay for the matrices of the blocks, and
    AdamW for the rest; gradients are clipped to the norm `clip` (0: never). Schedule, of both
    rates: `warmup_steps` of linear warm-up, then `decay` (cosine or linear) to `final_lr` x `lr` at
    the last step.
    Watching: `eval_every`, `sample_every`, `save_every` in steps, and at the end (0: never; the end
    is always saved);
    `patience` evaluations in a row without a better held-out loss end the run, and however it ends
    it keeps its best weights (0: it makes every step and keeps the last);
    `snapshot_mb` of disk for snapshots at log-spaced steps (0: none), `snapshots` of them (0: the
    powers of two).
    Arithmetic: `dtype` fp32 or bf16 (bf16 products, fp32 weights); `compile` the forward and
    backward pass; `checkpoint_activations`: keep of a block only what enters it, and compute the
    rest again in the backward pass. `seed` decides initial weights, the order of the data and
    dropout. `only`: the parts of the model that are trained, by the beginnings of their weights'
    names, such as unembed or blocks.1.mlp; the others stay as they are (empty: all are trained).

    >>> Recipe(steps=100, lr=3e-3).blocks_per_step
    32
    """

    noun: ClassVar[str] = "training recipe"

    steps: Some = 1000
    batch_size: Some = 32
    accumulate: Some = 1
    optimizer: Annotated[str, Choice(("adamw", "muon"))] = "adamw"
    lr: Annotated[float, _rate("1e-3")] = 1e-3
    muon_lr: Annotated[float, _rate("0.04")] = 0.04
    momentum: Past = 0.95
    warmup_steps: Count = 50
    decay: Annotated[str, Choice(("cosine", "linear"))] = "cosine"
    final_lr: Rate = 0.1
    weight_decay: Rate = 0.1
    beta1: Past = 0.9
    beta2: Past = 0.99
    clip: Rate = 1.0
    eval_every: Count = 100
    sample_every: Count = 0
    save_every: Count = 100
    patience: Count = 0
    snapshot_mb: Count = 256
    snapshots: Count = 0
    dtype: Annotated[str, Choice(DTYPES)] = "fp32"
    compile: bool = False
    checkpoint_activations: bool = False
    only: tuple[str, ...] = ()
    seed: Annotated[
        int, Range(0, below=2**64, low=FINITE, high="has more than 64 bits; give one below 2^64")
    ] = 0

    @property
    def keeps_best(self) -> bool:
        """Whether a run ends with the weights that lost least, not with its last."""
        return self.patience > 0 and self.eval_every > 0

    @property
    def blocks_per_step(self) -> int:
        return self.batch_size * self.accumulate
