"""The variants of a sweep: its options, each list of values spread out, each table by its name."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from glassformer.cli.app import load_verb
from glassformer.cli.config import (
    by_param,
    checked_options,
    location_of,
    params_of,
    read_toml,
    takes_several,
)
from glassformer.cli.train import CHECK
from glassformer.errors import GlassformerError

TABLE = "variants"
NOT_FOR_ALL = ("out", "resume", "json", "shard")
MOST = 1_000


class Variant(NamedTuple):
    """One training of a sweep."""

    name: str
    options: dict[str, Any]
    varied: dict[str, Any]
    """The options in which it differs from the others."""


def read_variants(file: Path) -> list[Variant]:
    """The trainings that a file asks for; raises where it asks for something else."""
    content = read_toml(file)
    tables = content.pop(TABLE, {"": {}})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise GlassformerError(
            f"{file}: {TABLE!r} must be tables of options, as in: [{TABLE}.large]"
        )
    known = params_of(load_verb("train"))
    asked = sum(
        math.prod(map(len, _choices({**content, **table}, known))) for table in tables.values()
    )
    if not asked:
        raise GlassformerError(
            f"{file} asks for no training: a list or the table of {TABLE} in it is empty; give"
            " values, such as: lr = [0.003, 0.01]"
        )
    if asked > MOST:
        raise GlassformerError(f"{file} asks for {asked:,} trainings; at most {MOST:,}")
    variants = []
    for name, table in tables.items():
        location = partial(_location, file, name, table)
        for options in _spread({**content, **table}, known):
            for not_here in NOT_FOR_ALL:
                if not_here in options:
                    raise GlassformerError(
                        f"{location(not_here)}: the sweep decides {not_here!r}; leave it out"
                    )
            checked_options(options, known, location)
            variants.append((name, options))
    differing = [name for name in _names(variants) if len(_values(variants, name)) > 1]
    return _named(file, variants, differing)


def check_variants(file: Path, variants: Iterable[Variant]) -> None:
    """Raise for the first that could not be trained; what only its tokens tell, of short texts."""
    train = load_verb("train")
    known = params_of(train)
    for name, options, _ in variants:
        typed = by_param(checked_options(options, known, lambda _: str(file)), known)
        try:
            with train.make_context("train", [], default_map=typed, obj=CHECK) as ctx:
                train.invoke(ctx)
        except GlassformerError as error:
            raise GlassformerError(f"{file}, variant {name}: {error}") from error


def _location(file: Path, name: str, table: Mapping[str, Any], option: str) -> str:
    return location_of(file, *((TABLE, name) if option in table else ()), option)


def _spread(options: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One set of options for each combination of the values in lists."""
    for values in itertools.product(*_choices(options, known)):
        yield dict(zip(options, values, strict=True))


def _choices(options: Mapping[str, Any], known: Mapping[str, Any]) -> list[list[Any]]:
    """For each option the values to try."""
    return [
        value if _is_list_of_choices(value, known.get(name.replace("-", "_"))) else [value]
        for name, value in options.items()
    ]


def _is_list_of_choices(value: Any, param: Any) -> bool:
    """Whether a list holds values to try; several texts are one value, a list of lists several."""
    if not isinstance(value, list):
        return False
    several = param is not None and takes_several(param)
    return not several or any(isinstance(each, list) for each in value)


def _names(variants: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [*dict.fromkeys(name for _, options in variants for name in options)]


def _values(variants: list[tuple[str, dict[str, Any]]], name: str) -> set[str]:
    return {repr(options.get(name)) for _, options in variants}


def _named(
    file: Path, variants: list[tuple[str, dict[str, Any]]], differing: list[str]
) -> list[Variant]:
    result: dict[str, Variant] = {}
    for table, options in variants:
        varied = {name: options.get(name) for name in differing}
        # within a table of its own name, what was spread out tells its variants apart
        same_table = [other for other in variants if other[0] == table]
        shown = [n for n in differing if len(_values(same_table, n)) > 1]
        parts = [table, *(f"{n}={_spelled(options.get(n))}" for n in shown)]
        name = re.sub(r"[^\w.=,+-]", "-", ",".join(filter(None, parts))).lstrip(".") or "only"
        if name in result:
            raise GlassformerError(f"{file} asks twice for the variant {name}; leave one out")
        result[name] = Variant(name, options, varied)
    return [*result.values()]


def _spelled(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
