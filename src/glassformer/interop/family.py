"""A family of model folders, mostly as data: its settings, its tensors, and what it can't express.

A `Family` is the `Form` of the folders that `transformers` knows, one file each in
`interop.families`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import torch
from torch import Tensor

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.interop.form import Settings, lost
from glassformer.interop.layouts import (
    AS_OURS,
    OUT_BY_IN,
    Layout,
    Shape,
    Stored,
    always,
    is_apart,
    of_all_experts,
    of_expert,
    shapes_of,
    tower_of,
)
from glassformer.interop.settings import FIXED, IGNORED, Setting
from glassformer.kernels.positions import sinusoid_table
from glassformer.model import Config, TowersConfig

OF_TABLES = {
    "embed.E": AS_OURS,
    "type_embed.type": AS_OURS,
    "pos_embed.pos": AS_OURS,
    "unembed.U": OUT_BY_IN,
}
SUFFIXES = (".weight", ".bias")
TABLE = "embed.W_E"


@dataclass(frozen=True)
class Family:
    """A form that `transformers` knows.

    Settings: `choices` are fields of our configuration that hold for all of the family, `settings`
    say the others, `more` what `more_settings` (names to defaults) say together, and `write_more`
    the way back. `fixed`: what changes the computation, to the values that we compute; `ignored`:
    what changes no logit, beside the settings of any family; `aliases`: other spellings.
    `always`: what the form has always, as a field, its value, and the values in whose place ones,
    zeros or a fixed table do the same.

    Tensors: our modules to theirs, "attn.Q" for W_Q and b_Q, "ln1" for w and b; several, separated
    by spaces, lie in one tensor. Their names come after the `prefix` for `embeddings` and `end`,
    after prefix, `layers` and the layer's number for `block`, which may follow from the
    configuration, and alone for the `head`. A matrix has the `layout`, an embedding table ours, the
    head [out, in]; `layouts` are other ones, by our modules. `buffers`: tensors that are no
    weights; `renamed` and `endings`: beginnings and ends of names in old folders. `experts`: what
    stands in place of the block's MLP in layers that have experts; "{}" is an expert's number.
    `suffixes`: what follows the names of a module's weight and bias, where it is another than
    usual. `constants`: tensors of every block that hold one number, always the same.

    `entering`, `activation` and `router` are modules that compute what enters the first block, a
    neuron's output and the experts' scores, for the table of names; `lens`: TransformerLens gives
    the same values, as a test shows. Of families that express a configuration the one of the lowest
    `rank` is written.
    """

    model_type: str
    title: str
    architecture: str
    settings: tuple[Setting, ...]
    embeddings: Mapping[str, str]
    block: Mapping[str, str] | Callable[[Config], Mapping[str, str]]
    end: Mapping[str, str]
    layers: str
    prefix: str = "model."
    head: Mapping[str, str] = field(default_factory=lambda: {"unembed.U": "lm_head"})
    layout: Layout = OUT_BY_IN
    layouts: Mapping[str, Callable[[Config], Layout]] = field(default_factory=dict)
    experts: Mapping[str, str] = field(default_factory=dict)
    suffixes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    buffers: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    endings: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Any] = field(default_factory=dict)
    more: Callable[[dict[str, Any]], dict[str, Any]] = lambda _: {}
    more_settings: Mapping[str, Any] = field(default_factory=dict)
    write_more: Callable[[Any], dict[str, Any]] = lambda _: {}
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ignored: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    always: tuple[tuple[str, Any, tuple[Any, ...]], ...] = ()
    constants: Callable[[Config], Mapping[str, float]] = lambda _: {}
    entering: str = ""
    activation: str = ""
    router: str = ""
    lens: bool = False
    rank: int = 100

    @property
    def is_of_towers(self) -> bool:
        """Whether it is a family of encoder-decoders."""
        return False

    @property
    def unprefixed(self) -> tuple[str, ...]:
        """Beginnings of names that never have the prefix."""
        return tuple(self.head.values())

    @property
    def head_name(self) -> str:
        suffix, _ = self.suffixes.get("unembed.U", SUFFIXES)
        return self.head["unembed.U"] + suffix

    def read_config(self, settings: Settings, /) -> Any:
        """Our configuration for the family's settings.

        Read past are those that `transformers` has or had for other ends, those that a program
        keeps for itself, whose names begin with "_", and unknown ones that are empty: null, "", []
        or {}. Any other unknown setting is refused, since another program may compute by it.
        """
        settings = {self.aliases.get(name, name): value for name, value in settings.items()}
        self._refuse_unknown(settings)
        kinds = get_type_hints(Config)
        known: dict[str, Any] = {}
        for one in self.settings:
            value = one.read(settings.get(one.theirs, one.default), kinds[one.ours])
            Config.check_field(one.ours, value, one.theirs)  # before `more` computes with it
            known[one.ours] = value
        usual = {**self.more_settings, **{s.theirs: s.default for s in self.settings}}
        result = self.more({**usual, **settings})
        return Config.from_dict({**self.choices, **known, **result})

    def _refuse_unknown(self, settings: Settings) -> None:
        fixed = {**FIXED, **self.fixed}
        known = {*(s.theirs for s in self.settings), *self.more_settings}
        ignored = IGNORED | {*self.ignored.split()}
        if isinstance(quantized := settings.get("quantization_config"), dict):
            raise GlassformerError(
                f"quantization_config: its weights are quantized ({quantized.get('quant_method')}),"
                " and Glassformer reads weights in float32, bfloat16 or float16; write a copy in"
                " one of these with the program that quantized it"
            )
        for name, value in settings.items():
            if name in fixed and value not in fixed[name]:
                raise GlassformerError(
                    f"{name}={value!r} is a {self.title} that Glassformer does not compute; it can"
                    f" take {' or '.join(map(repr, fixed[name]))}"
                )
            read_past = name in ignored or name.startswith("_") or value in (None, "", [], {})
            if not read_past and name not in known and name not in fixed:
                raise GlassformerError(
                    f"{name!r} is no known setting of a {self.title}, and it might change what the"
                    " model computes; take it out if it does"
                    f" not.{did_you_mean(name, [*known, *fixed, *ignored])}"
                )

    def write_config(self, config: Any, /) -> dict[str, Any]:
        written = {s.theirs: s.write(getattr(config, s.ours)) for s in self.settings}
        head = {"architectures": [self.architecture], "model_type": self.model_type}
        return {**head, **written, **self.write_more(config)}

    def unsupported_fields(self, config: Any, /) -> list[str]:
        """What does not come back when the configuration is written and read again."""
        if not isinstance(config, Config):
            return ["two towers"]
        return lost(self, config)

    def with_all_parameters(self, config: Any, /) -> Any:
        for name, value, absent in self.always:
            if getattr(config, name) in absent:
                with suppress(GlassformerError):  # an RMS norm has no bias: in the way
                    config = config.replace(**{name: value})
        return config

    def tensors(self, config: Any, /) -> list[Stored]:
        parts = shapes_of(config)
        tensors = self._tensors(config, parts)
        return stored(self.title, parts, [t for t in tensors if parts.keys() >= {*t.parts[:1]}])

    def copies(self, config: Any, /) -> dict[str, str]:
        """A tied head is the embedding table."""
        tables = (
            tensor.name
            for module in self.embeddings.items()
            for tensor in self._stored(config, (), *module, self.prefix)
            if tensor.parts == (TABLE,)
        )
        return {self.head_name: next(tables)} if config.tied else {}

    def _tensors(self, config: Any, known: Mapping[str, Shape]) -> Iterator[Stored]:
        """Every tensor, also of parts that are not `known` to be the configuration's."""
        for module in self.embeddings.items():
            yield from self._stored(config, known, *module, self.prefix)
        block = self.block(config) if callable(self.block) else self.block
        for layer in range(config.n_layers):
            before = f"{self.prefix}{self.layers}{layer}."
            sparse = config.has_experts(layer)
            for ours, theirs in block.items():
                if not (sparse and ours.startswith("mlp.")):
                    yield from self._stored(config, known, ours, theirs, before, layer)
            for theirs, number in self.constants(config).items():
                yield Stored(f"{before}{theirs}", (), always(number))
            for ours, theirs in self.experts.items() if sparse else ():
                experts = range(config.n_experts) if "{}" in theirs else (None,)
                for expert in experts:
                    names = ours, theirs.format(expert)
                    yield from self._stored(config, known, *names, before, layer, expert)
        for module in self.end.items():
            yield from self._stored(config, known, *module, self.prefix)
        for module in self.head.items():
            yield from self._stored(config, known, *module, "")

    def _stored(
        self,
        config: Config,
        known: Container[str],
        ours: str,
        theirs: str,
        before: str,
        layer: int | None = None,
        expert: int | None = None,
    ) -> Iterator[Stored]:
        """A module's weight and its bias, or one expert's."""
        usual = OF_TABLES.get(ours, self.layout)
        layout = self.layouts[ours](config) if ours in self.layouts else usual
        scope = "" if layer is None else f"blocks.{layer}."
        suffixes = self.suffixes.get(ours, SUFFIXES)
        for suffix, letter in zip(suffixes, "Wb", strict=True):
            parts = tuple(
                f"{scope}{module}"
                if letter == "W" and f"{scope}{module}" in known
                else scope + _parameter(module, letter)
                for module in ours.split()
            )
            if expert is not None:
                parts = tuple(of_expert(part, expert) for part in parts)
            yield Stored(f"{before}{theirs}{suffix}", parts, layout)

    def full_names(self, names: Iterable[str], /) -> dict[str, str]:
        """Some folders leave the prefix of the names out; buffers do not count."""
        full: dict[str, str] = {}
        for name in names:
            old = next((old for old in self.renamed if name.startswith(old)), "")
            full_name = self.renamed[old] + name.removeprefix(old) if old else name
            for end, now in self.endings.items():
                full_name = re.sub(f"{re.escape(end)}$", now, full_name)
            prefixed = full_name.startswith((self.prefix, *self.unprefixed))
            full_name = full_name if prefixed else f"{self.prefix}{full_name}"
            if full_name in full:
                raise GlassformerError(
                    f"tensors are there both with and without the prefix {self.prefix!r}; save the"
                    " model again"
                )
            full[full_name] = name
        return {key: n for key, n in full.items() if not re.fullmatch(self.buffers, key)}

    def layer_of(self, name: str, /) -> int | None:
        result = re.match(rf"{re.escape(self.prefix + self.layers)}(\d{{1,9}})\.", name)
        return int(result[1]) if result else None

    def has_setting_for(self, name: str, /) -> bool:
        return any(setting.ours == name for setting in self.settings)

    @property
    def read_settings(self) -> set[str]:
        names = {s.theirs for s in self.settings}
        return {*names, *self.aliases, *self.fixed, *FIXED, *self.more_settings}


def stored(title: str, parts: Mapping[str, Shape], tensors: list[Stored]) -> list[Stored]:
    """The tensors of a form, each number of the model among them, or it would be lost unsaid."""
    held = {part for tensor in tensors for part in tensor.parts}
    absent = [n for n in parts if not (is_apart(n, parts) or {n, of_all_experts(n)} & held)]
    if absent:
        raise GlassformerError(
            f"{absent[0]} has no tensor in a {title}; name one in the family's file"
        )
    return tensors


def default_tensor(part: str, shape: tuple[int, ...], config: Config | TowersConfig) -> Tensor:
    """The numbers [*shape], in float64, that stand for a part our configuration lacks.

    Ones for a gain, a table for fixed positions, zeros for all that is added.
    """
    if part.endswith("pos_embed.W_pos"):
        tower, _ = tower_of(config, part)
        if tower.position == "sinusoidal":
            n_ctx, d_model = shape
            return sinusoid_table(n_ctx, d_model, tower.sinusoid_halves)
    make = torch.ones if part.endswith(".w") else torch.zeros
    return make(shape, dtype=torch.float64)


def _parameter(module: str, letter: str) -> str:
    """The weight (W) or the bias (b) of a module.

    >>> _parameter("ln1", "W"), _parameter("attn.Q", "b")
    ('ln1.w', 'attn.b_Q')
    """
    scope, _, last = module.rpartition(".")
    if last.startswith("ln") or last.endswith("norm"):
        return f"{module}.{letter.lower()}"
    return f"{scope}.{letter}_{last}"
