"""The form of a model folder: what whatever reads or writes folders asks of it.

`interop.family` has the forms that `transformers` knows, and `interop.own` our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

from glassformer.errors import GlassformerError
from glassformer.interop.layouts import Stored
from glassformer.model import Config, TowersConfig
from glassformer.model.effective import effective

Settings = Mapping[str, Any]


@runtime_checkable  # so that the tests can check annotations
class Form(Protocol):
    """What a folder's form must say of itself."""

    @property
    def model_type(self) -> str: ...

    @property
    def head_name(self) -> str:
        """The tensor of an untied head, or nothing where a tied model never has one."""
        ...

    def read_config(self, settings: Settings, /) -> Any:
        """Our configuration for these settings; one that might change a logit is refused."""
        ...

    def write_config(self, config: Any, /) -> dict[str, Any]:
        """The settings for a configuration that has no unsupported fields."""
        ...

    def unsupported_fields(self, config: Any, /) -> list[str]:
        """What the form can't express, as "field=value"."""
        ...

    def with_all_parameters(self, config: Any, /) -> Any:
        """The configuration that computes the same and has every parameter that the form has."""
        ...

    def tensors(self, config: Any, /) -> list[Stored]:
        """Every tensor of a configuration that the form expresses, in the model's order."""
        ...

    def copies(self, config: Any, /) -> dict[str, str]:
        """Names of tensors that may be there too, each to the one whose numbers it must hold."""
        ...

    def full_names(self, names: Iterable[str], /) -> dict[str, str]:
        """Of each tensor that counts the name in the form, to the name that it has in the file."""
        ...

    def layer_of(self, name: str, /) -> int | None:
        """The layer of a tensor by its full name."""
        ...

    def has_setting_for(self, name: str, /) -> bool:
        """Whether a setting of the form is this field of our configuration."""
        ...

    @property
    def read_settings(self) -> set[str]:
        """The settings that `read_config` looks at."""
        ...


def lost(form: Form, config: Any) -> list[str]:
    """What does not come back when a configuration is written and read again."""
    complete = form.with_all_parameters(config)
    try:
        back = form.read_config(form.write_config(complete))
    except GlassformerError as error:
        return [str(error)]
    return differing(complete, back)


def differing(one: Config | TowersConfig, other: Config | TowersConfig) -> list[str]:
    """The fields by which two configurations compute differently, as "field=value" of the first."""
    if isinstance(one, TowersConfig) and isinstance(other, TowersConfig):
        return _differing_towers(one, other)
    if not (isinstance(one, Config) and isinstance(other, Config)):
        return ["another number of towers"]
    one, other = effective(one), effective(other)
    return [
        f"{field.name}={getattr(one, field.name)!r}"
        for field in fields(Config)
        if getattr(one, field.name) != getattr(other, field.name)
    ]


def _differing_towers(one: TowersConfig, other: TowersConfig) -> list[str]:
    towers = [
        f"{name}.{field}"
        for name in ("encoder", "decoder")
        for field in differing(getattr(one, name), getattr(other, name))
    ]
    ours = ("shared_embeddings", "pad_id", "start_id")
    values = [(name, getattr(one, name), getattr(other, name)) for name in ours]
    return [*towers, *(f"{name}={value!r}" for name, value, back in values if value != back)]
