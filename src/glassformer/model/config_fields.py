"""The choices of a model, one by one, and which of them go together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from glassformer.checked import Checked, Choice, Range
from glassformer.errors import GlassformerError
from glassformer.model.parts import LONGROPE, Lora, RotaryScaling
from glassformer.ops import ACTIVATIONS

MAX_SIZE = 2**20  # of any one dimension
MAX_LAYERS = 2**12

POSITIONS = ("learned", "sinusoidal", "rotary", "relative", "alibi", "none")

NORMS: dict[str, tuple[str, ...]] = {  # the norms of a block, by where they stand
    "pre": ("ln1", "ln2"),
    "post": ("ln1", "ln2"),
    "branch": ("ln1_post", "ln2_post"),
    "both": ("ln1", "ln1_post", "ln2", "ln2_post"),
    "none": (),
}

TRAINING_ONLY = ("dropout", "init_std", "zero_init")
"""Fields that change no logit of a model whose weights are there."""

Size = Annotated[int, Range(1, MAX_SIZE)]
OwnSize = Annotated[int, Range(0, MAX_SIZE, low="must be positive, or 0 for its default")]
Count = Annotated[int, Range(0, MAX_SIZE, low="must be positive, or 0 for none")]
Window = Annotated[tuple[int, ...], Range(0, MAX_SIZE, low="must be positive, or 0 for no window")]
Factor = Annotated[float, Range(above=0, low="must be positive; 1 changes nothing")]
Cap = Annotated[float, Range(0, low="must be positive, or 0 for no cap")]


# the types are objects, not names (no annotations of __future__): Config, in another file, has them
@dataclass(frozen=True, repr=False)
class Fields(Checked):
    """The fields of a `Config`, which says what each of them means."""

    noun: ClassVar[str] = "model configuration"

    vocab_size: Size
    n_ctx: Size
    d_model: Size
    n_layers: Annotated[int, Range(1, MAX_LAYERS)]
    n_heads: Size
    d_head: OwnSize = 0
    d_mlp: OwnSize = 0
    n_kv_heads: OwnSize = 0
    position: Annotated[str, Choice(POSITIONS)] = "learned"
    rotary_base: Annotated[float, Range(above=1, low="must be above 1, for example 10000")] = 1e4
    rotary_dims: OwnSize = 0
    rotary_scaling: RotaryScaling | None = None
    rotary_layers: tuple[bool, ...] = ()
    sinusoid_halves: bool = False
    relative_buckets: Annotated[int, Range(4, MAX_SIZE)] = 32
    relative_distance: Annotated[int, Range(2, MAX_SIZE)] = 128
    local_rotary_base: Annotated[float, Range(0, low="must be positive, or 0")] = 0.0
    windows: Window = ()
    alibi_bf16: bool = False
    qk_norm: bool = False
    qk_norm_gain: bool = False
    qk_norm_wide: bool = False
    qk_norm_last: bool = False
    attn_scale: Annotated[float, Range(0, low="must be positive, or 0 for 1 / sqrt(d_head)")] = 0.0
    score_cap: Cap = 0.0
    norm: Annotated[str, Choice(("layer", "rms"))] = "layer"
    norm_position: Annotated[str, Choice(tuple(NORMS))] = "pre"
    parallel: bool = False
    shared_norm: bool = False
    embed_norm: bool = False
    final_norm: bool = True
    norm_gain: bool = True
    norm_gain_from_one: bool = False
    norm_bias: bool = True
    norm_eps: Annotated[float, Range(above=0, low="must be positive, for example 1e-5")] = 1e-5
    attn_bias: bool = True
    attn_bias_on: Annotated[str, Choice(("qkvo", "qkv", "o"))] = "qkvo"
    mlp_bias: bool = True
    head_bias: bool = False
    activation: Annotated[str, Choice((*ACTIVATIONS, "xielu"))] = "gelu_tanh"
    gated: bool = False
    embed_scale: Factor = 1.0
    branch_scale: Factor = 1.0
    logit_scale: Factor = 1.0
    logit_cap: Cap = 0.0
    tied: bool = True
    dropout: Annotated[
        float, Range(0, below=1, low="is a probability; give 0 or more, below 1")
    ] = 0.0
    init_std: Annotated[float, Range(above=0, low="must be positive, for example 0.02")] = 0.02
    zero_init: bool = False
    attn_sinks: bool = False
    n_experts: Count = 0
    experts_per_token: Count = 0
    expert_share: bool = False
    expert_layers: tuple[bool, ...] = ()
    d_expert: OwnSize = 0
    router_bias: bool = False
    gate_limit: Cap = 0.0
    gate_slope: Factor = 1.0
    causal: bool = True
    token_types: Count = 0
    first_norm: bool = True
    masked_head: bool = False
    lora: Lora | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm == "rms" and self.norm_bias:
            raise GlassformerError(
                "norm='rms' has no bias to learn (Zhang and Sennrich 2019); give norm_bias=False"
            )
        defaults: dict[str, Callable[[], int]] = {
            "d_head": self._default_d_head,
            "d_mlp": lambda: 4 * self.d_model,
            "n_kv_heads": lambda: self.n_heads,
        }
        for name, default in defaults.items():
            if getattr(self, name) == 0:
                object.__setattr__(self, name, default())
        if self.n_heads % self.n_kv_heads:
            raise GlassformerError(
                f"n_heads={self.n_heads} queries can't share n_kv_heads={self.n_kv_heads} keys and"
                " values evenly; give a divisor"
            )
        if self.position == "rotary":
            self._check_rotary()
        if self.activation == "xielu" and self.gated:
            raise GlassformerError(
                "activation='xielu' is for neurons without gates; give gated=False"
            )
        if self.n_experts:
            self._check_experts()
        if self.position == "relative":
            self._check_relative()
        if self.lora is not None:
            self._check_adapters(self.lora)
        if not self.causal and self.position == "alibi":
            raise GlassformerError(
                "position='alibi' counts how far back a key is, so it needs causal=True; give"
                " another position"
            )

    def has_experts(self, layer: int) -> bool:
        """Whether a layer's feed-forward part is experts."""
        return self.n_experts > 0 and bool(of_layer(self.expert_layers, layer, True))

    def _check_rotary(self) -> None:
        if self.rotary_dims == 0:
            object.__setattr__(self, "rotary_dims", self.d_head)
        for name in ("d_head", "rotary_dims"):
            n = getattr(self, name)
            if self.rotary_dims % 2 and n % 2:
                raise GlassformerError(
                    f"rotary positions turn pairs of dimensions, so {name}={n} must be even; try"
                    f" {n + 1}"
                )
        if self.rotary_dims > self.d_head:
            raise GlassformerError(
                f"rotary_dims={self.rotary_dims} can't be more than d_head={self.d_head}"
            )
        scaling, pairs = self.rotary_scaling, self.rotary_dims // 2
        if scaling is not None and scaling.kind == LONGROPE:
            for name in ("short", "long"):
                n = len(getattr(scaling, name))
                if n != pairs:
                    raise GlassformerError(
                        f"{name} holds {n} factors and {pairs} pairs of dimensions turn; give one"
                        " for each"
                    )

    def _check_relative(self) -> None:
        buckets = self.relative_buckets if self.causal else self.relative_buckets // 2
        if self.relative_distance <= buckets // 2:
            raise GlassformerError(
                f"relative_distance={self.relative_distance} must be more than {buckets // 2}, as"
                f" so many of relative_buckets={self.relative_buckets} are for one distance each"
            )

    def _check_adapters(self, lora: Lora) -> None:
        of_mlp = [name for name in lora.on if name in ("W_gate", "W_in", "W_out")]
        sparse = next((i for i in range(self.n_layers) if self.has_experts(i)), None)
        if of_mlp and sparse is not None:
            raise GlassformerError(
                f"{of_mlp[0]} of blocks.{sparse} is that of {self.n_experts} experts, and adapters"
                " are for one matrix; adapt some of W_Q, W_K, W_V, W_O"
            )
        if "W_gate" in lora.on and not self.gated:
            raise GlassformerError(
                "the MLPs of this model have no gate, so there is no W_gate to adapt; leave it out"
            )

    def _check_experts(self) -> None:
        if self.d_expert == 0:
            object.__setattr__(self, "d_expert", self.d_mlp)
        if not 0 < self.experts_per_token <= self.n_experts:
            raise GlassformerError(
                f"experts_per_token={self.experts_per_token} must be from 1 to"
                f" n_experts={self.n_experts}"
            )
        if not self.gated:
            raise GlassformerError("experts have gates; give gated=True")
        if self.gate_limit and self.activation != "silu":
            raise GlassformerError(
                f"gates with gate_limit={self.gate_limit:g} open by silu; activation is"
                f" {self.activation!r}"
            )

    def _default_d_head(self) -> int:
        if self.d_model % self.n_heads:
            below = self.d_model - self.d_model % self.n_heads
            nearest = f"{below} or {below + self.n_heads}" if below else str(self.n_heads)
            raise GlassformerError(
                f"d_model={self.d_model} does not split into n_heads={self.n_heads} heads;"
                f" try {nearest}"
            )
        return self.d_model // self.n_heads


def of_layer(pattern: tuple[Any, ...], layer: int, default: Any) -> Any:
    """A layer's entry in a pattern that is repeated from the first layer on."""
    return pattern[layer % len(pattern)] if pattern else default
