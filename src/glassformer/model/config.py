"""What a model looks like: one frozen description that checks itself."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from glassformer.describe import short_repr
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.ops import ACTIVATIONS

MAX_SIZE = 2**20  # of any one dimension
MAX_LAYERS = 2**12

CHOICES: dict[str, tuple[str, ...]] = {
    "position": ("learned", "sinusoidal", "rotary", "none"),
    "norm": ("layer", "rms"),
    "norm_position": ("pre", "post", "none"),
    "activation": tuple(ACTIVATIONS),
}


@dataclass(frozen=True, repr=False)
class Config:
    """A decoder's configuration.

    Sizes: `vocab_size` token ids, `n_ctx` positions at most, `d_model` numbers per token in the
    residual stream, `n_layers` blocks, `n_heads` heads of `d_head` numbers (default
    d_model / n_heads), `d_mlp` neurons per block (default 4 d_model).
    Choices: `position` learned, sinusoidal, rotary (turning queries and keys, with wavelengths up
    to 2 pi `rotary_base`) or none; `qk_norm` gives queries and keys a standard length;
    `norm` layer or rms, `norm_position` before each branch (pre), after each addition (post) or
    nowhere (none); `embed_norm` on what enters the first block, `final_norm` before the
    unembedding; `norm_gain` and `norm_bias` the norms' learned parts; `attn_bias`, `mlp_bias`,
    `head_bias` additive biases; `activation` relu, relu_squared, gelu, gelu_tanh or silu; `tied`
    shares the embedding table with the unembedding; `dropout` (probability) on the embedding and
    on each branch while training; `init_std` the standard deviation of the first, random weights
    (0.02 suits d_model 768; small models start sooner from more); `zero_init` starts what is added
    to the stream, and an untied unembedding, at zero, so that the first guess is uniform.

    >>> Config(vocab_size=512, n_ctx=64, d_model=96, n_layers=2, n_heads=4).d_head
    24
    """

    vocab_size: int
    n_ctx: int
    d_model: int
    n_layers: int
    n_heads: int
    d_head: int = 0
    d_mlp: int = 0
    position: str = "learned"
    rotary_base: float = 10000.0
    qk_norm: bool = False
    norm: str = "layer"
    norm_position: str = "pre"
    embed_norm: bool = False
    final_norm: bool = True
    norm_gain: bool = True
    norm_bias: bool = True
    norm_eps: float = 1e-5
    attn_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = False
    activation: str = "gelu_tanh"
    tied: bool = True
    dropout: float = 0.0
    init_std: float = 0.02
    zero_init: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, typed(field, getattr(self, field.name)))
        for name in ("vocab_size", "n_ctx", "d_model", "n_layers", "n_heads"):
            if getattr(self, name) < 1:
                raise GlassformerError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("n_layers", "vocab_size", "n_ctx", "d_model", "n_heads", "d_head", "d_mlp"):
            size, most = getattr(self, name), MAX_LAYERS if name == "n_layers" else MAX_SIZE
            if size > most:
                raise GlassformerError(
                    f"{name}={size:,} is more than {most:,}, the most there can be"
                )
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise GlassformerError(
                    f"{name}={value!r} is none of {', '.join(allowed)}."
                    f"{did_you_mean(value, allowed)}"
                )
        if self.norm == "rms" and self.norm_bias:
            raise GlassformerError(
                "norm='rms' has no bias to learn (Zhang and Sennrich 2019); give norm_bias=False"
            )
        if not 0 <= self.dropout < 1:
            raise GlassformerError(
                f"dropout={self.dropout} is a probability; give 0 or more, below 1"
            )
        if not 0 < self.norm_eps < math.inf:
            raise GlassformerError(f"norm_eps={self.norm_eps} must be positive, for example 1e-5")
        if self.d_head == 0:
            object.__setattr__(self, "d_head", self._default_d_head())
        if self.d_mlp == 0:
            object.__setattr__(self, "d_mlp", 4 * self.d_model)
        if self.d_head < 1 or self.d_mlp < 1:
            raise GlassformerError("d_head and d_mlp must be positive, or 0 for their defaults")
        if self.position == "rotary" and self.d_head % 2:
            raise GlassformerError(
                f"rotary positions turn pairs of dimensions, so d_head={self.d_head} must be even;"
                f" try {self.d_head + 1}"
            )
        if not 0 < self.init_std < math.inf:
            raise GlassformerError(f"init_std={self.init_std} must be positive, for example 0.02")
        if not 1 < self.rotary_base < math.inf:
            raise GlassformerError(
                f"rotary_base={self.rotary_base} must be above 1, for example 10000"
            )

    def _default_d_head(self) -> int:
        if self.d_model % self.n_heads:
            below = self.d_model - self.d_model % self.n_heads
            near = f"{below} or {below + self.n_heads}" if below else str(self.n_heads)
            raise GlassformerError(
                f"d_model={self.d_model} does not split into n_heads={self.n_heads} heads;"
                f" try {near}"
            )
        return self.d_model // self.n_heads

    def __repr__(self) -> str:
        return short_repr(self)

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed; `d_head` and `d_mlp` follow where they were defaults."""
        derived = {}
        if self.d_head * self.n_heads == self.d_model:
            derived["d_head"] = 0
        if self.d_mlp == 4 * self.d_model:
            derived["d_mlp"] = 0
        return Config.from_dict({**self.to_dict(), **derived, **changes})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Config:
        """A configuration from its fields; an unknown field is refused by name."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise GlassformerError(
                    f"{name!r} is not a field of a model configuration.{did_you_mean(name, known)}"
                )
        missing = [name for name in known if name not in data and _required(known[name])]
        if missing:
            raise GlassformerError(
                f"the model configuration lacks {', '.join(missing)}; say what it is to be"
            )
        return cls(**{name: typed(known[name], value) for name, value in data.items()})

    @classmethod
    def preset(cls, name: str) -> Config:
        """The configuration that `model/presets/NAME.toml` holds."""
        return cls.from_dict(load_preset(name)["model"])


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}


def typed(field: dataclasses.Field[Any], value: Any) -> Any:
    """The value if it is of the field's type, a whole number as the number that it is."""
    kind = str(field.type)
    if kind == "float" and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value).__name__ != kind:
        raise GlassformerError(f"{field.name}={value!r} must be {_KINDS[kind]}")
    return value


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING


def preset_names() -> list[str]:
    """All presets, in alphabetical order."""
    folder = files("glassformer.model") / "presets"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def load_preset(name: str) -> dict[str, Any]:
    """A preset's tables: `model`, and where it has them `tokenizer`, `training` and `weights`."""
    if name not in preset_names():
        raise GlassformerError(
            f"no preset is named {name!r}.{did_you_mean(name, preset_names())}"
            f" Presets: {', '.join(preset_names())}."
        )
    text = (files("glassformer.model") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
