"""The families of model folders that are read and written, one file each.

A file holds a `FAMILY` and is named as its model_type; being here is being known.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from glassformer.interop.family import Family


@cache
def names() -> tuple[str, ...]:
    """The model_type of every family, in alphabetical order."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.name[0] != "_"))


def family(model_type: str) -> Family:
    """The family of this model_type, one of `names()`.

    >>> from glassformer.model import Config
    >>> family("gpt2").unsupported_fields(Config.preset("miniature"))
    ["norm_position='none'", 'final_norm=False', 'head_bias=True']
    """
    result: Family = import_module(f"{__name__}.{model_type}").FAMILY
    return result


@cache
def by_rank() -> tuple[Family, ...]:
    """Every family, the one that is written first in front."""
    return tuple(sorted(map(family, names()), key=lambda one: (one.rank, one.model_type)))
