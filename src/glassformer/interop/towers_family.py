"""A family of encoder-decoders: the settings and tensors of two towers, as data.

A field of ours is written with the tower that it is of: "encoder.n_layers", "decoder.n_layers", and
"both.d_model" where the family has one setting for both.
"""

from __future__ import annotations

from collections.abc import Callable as Callable  # of inherited fields, which are checked here too
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from glassformer.errors import GlassformerError
from glassformer.interop.family import Family, stored
from glassformer.interop.form import Settings, lost
from glassformer.interop.layouts import AS_OURS, ONE_ROW, OUT_BY_IN, Shape, Stored, shapes_of
from glassformer.interop.layouts import Layout as Layout
from glassformer.interop.settings import Setting as Setting
from glassformer.model import Config, TowersConfig

TOWERS = ("encoder", "decoder")


@dataclass(frozen=True)
class TowersFamily(Family):
    """A form of encoder-decoders that `transformers` knows.

    `embeddings` and `block` are each tower's, after the prefix and "encoder." or "decoder.";
    `decoder_block` is what a decoder's block has beside or in place of that. `shared` is the table
    of both towers, `tables` what each tower calls its own, where it has one or a copy of it;
    `bias_of_head` the head's bias, a matrix of one row.
    """

    decoder_block: Mapping[str, str] = field(default_factory=dict)
    shared: str = "shared.weight"
    tables: str = "embed_tokens.weight"
    bias_of_head: str = ""

    @property
    def is_of_towers(self) -> bool:
        return True

    @property
    def unprefixed(self) -> tuple[str, ...]:
        bias = (self.bias_of_head,) if self.bias_of_head else ()
        return (*super().unprefixed, *bias)

    def read_config(self, settings: Settings, /) -> Any:
        settings = {self.aliases.get(name, name): value for name, value in settings.items()}
        self._refuse_unknown(settings)
        values: dict[str, Any] = {**self.choices}
        kinds = get_type_hints(Config)
        for one in self.settings:
            where, _, name = one.ours.rpartition(".")
            kind = kinds[name] if where else object  # ids begin at 0
            value = one.read(settings.get(one.theirs, one.default), kind)
            of = Config if where else TowersConfig
            of.check_field(name, value, one.theirs)  # before `more` computes with it
            values[one.ours] = value
        usual = {**self.more_settings, **{s.theirs: s.default for s in self.settings}}
        return _nested({**values, **self.more({**usual, **settings})})

    def write_config(self, config: Any, /) -> dict[str, Any]:
        written = {s.theirs: s.write(_value(config, s.ours)) for s in self.settings}
        head = {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "is_encoder_decoder": True,
        }
        return {**head, **written, **self.write_more(config)}

    def unsupported_fields(self, config: Any, /) -> list[str]:
        if not isinstance(config, TowersConfig):
            return ["a single tower"]
        return lost(self, config)

    def with_all_parameters(self, config: Any, /) -> Any:
        for path, value, absent in self.always:
            where, _, name = path.rpartition(".")
            for tower in TOWERS if where == "both" else (where,):
                if getattr(getattr(config, tower), name) in absent:
                    with suppress(GlassformerError):  # an RMS norm has no bias: in the way
                        changed = getattr(config, tower).replace(**{name: value})
                        config = config.replace(**{tower: changed.to_dict()})
        return config

    def tensors(self, config: Any, /) -> list[Stored]:
        parts = shapes_of(config)
        tensors = self._tensors(config, parts)
        return stored(self.title, parts, [t for t in tensors if t.parts[0] in parts])

    def _tensors(self, config: Any, known: Mapping[str, Shape]) -> Iterator[Stored]:
        if config.shared_embeddings:
            yield Stored(f"{self.prefix}{self.shared}", ("encoder.embed.W_E",), AS_OURS)
        for tower in TOWERS:
            if not config.shared_embeddings:
                yield Stored(self._table(tower), (f"{tower}.embed.W_E",), AS_OURS)
            local = {name.removeprefix(f"{tower}.") for name in known if name.startswith(tower)}
            for tensor in self._of_tower(getattr(config, tower), tower, local):
                parts = tuple(f"{tower}.{part}" for part in tensor.parts)
                yield Stored(tensor.name, parts, tensor.layout)
        yield Stored(self.head_name, ("unembed.W_U",), OUT_BY_IN)
        if self.bias_of_head:
            yield Stored(self.bias_of_head, ("unembed.b_U",), ONE_ROW)

    def _of_tower(self, config: Config, tower: str, known: Set[str]) -> Iterator[Stored]:
        before = f"{self.prefix}{tower}."
        for module in self.embeddings.items():
            yield from self._stored(config, known, *module, before)
        block = self.block(config) if callable(self.block) else self.block
        block = {**block, **(self.decoder_block if tower == "decoder" else {})}
        for layer in range(config.n_layers):
            for module in block.items():
                at = f"{before}{self.layers}{layer}."
                yield from self._stored(config, known, *module, at, layer)
        for module in self.end.items():
            yield from self._stored(config, known, *module, before)

    def _table(self, tower: str) -> str:
        return f"{self.prefix}{tower}.{self.tables}"

    def copies(self, config: Any, /) -> dict[str, str]:
        """Old folders hold the shared table once for each who reads it."""
        shared = f"{self.prefix}{self.shared}"
        tables = [self._table(tower) for tower in TOWERS] if config.shared_embeddings else []
        table = shared if config.shared_embeddings else self._table("decoder")
        heads = [self.head_name] if config.decoder.tied else []
        return dict.fromkeys([*tables, *heads], table)

    def layer_of(self, name: str, /) -> int | None:
        before = f"{self.prefix}decoder."
        if not name.startswith(before + self.layers):
            return None
        number = name.removeprefix(before + self.layers).partition(".")[0]
        return int(number) if number.isdigit() and len(number) < 10 else None

    def has_setting_for(self, name: str, /) -> bool:
        return any(setting.ours.rpartition(".")[2] == name for setting in self.settings)


def _nested(values: Mapping[str, Any]) -> TowersConfig:
    """A configuration from fields that say which tower they are of."""
    parts: dict[str, Any] = {"encoder": {"causal": False}, "decoder": {}}
    for path, value in values.items():
        where, _, name = path.rpartition(".")
        if not where:
            parts[name] = value
        for tower in TOWERS if where == "both" else (where,) if where else ():
            parts[tower][name] = value
    return TowersConfig.from_dict(parts)


def _value(config: TowersConfig, path: str) -> Any:
    where, _, name = path.rpartition(".")
    if not where:
        return getattr(config, name)
    return getattr(getattr(config, "decoder" if where == "both" else where), name)
