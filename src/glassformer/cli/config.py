"""`--config FILE`: a command's options from a TOML file, and those of a run as such a file."""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from glassformer.errors import GlassformerError, did_you_mean

NOT_OF_A_RUN = ("config", "out", "resume", "json")
"""Options that say nothing about what is trained."""

TEXT = "text"  # what a file calls the texts, which have no option

MAX_BYTES = 1024 * 1024  # a sweep of a thousand variants takes a tenth of it
MANY_LETTERS = 16 * 1024
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_MANY_PARTS = re.compile(r"(?<![\w-])(?:[\w-]+\s*\.\s*){8}")


def read_options(ctx: typer.Context, file: Path | None) -> Path | None:
    """Take a command's options from a file; those that are typed win over it."""
    if file is not None and not ctx.resilient_parsing:
        known = params_of(ctx.command)
        options = checked_options(read_toml(file), known, lambda name: location_of(file, name))
        ctx.default_map = by_param(options, known)
    return file


def by_param(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A file's options by the names of the command's parameters."""
    return {known[name].name: value for name, value in options.items()}


def read_toml(file: Path) -> dict[str, Any]:
    """The content of a TOML file of options, which may begin with a byte order mark."""
    try:
        return _parsed(_text(file))
    except FileNotFoundError as error:
        neighbors = [path.name for path in file.parent.glob("*.toml")]
        raise GlassformerError(
            f"there is no file {file}.{did_you_mean(file.name, neighbors)} Give a TOML file of"
            " options"
        ) from error
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise GlassformerError(
            f"{file} is no TOML of options ({error}); write an option a line, such as: steps = 200"
        ) from error


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it takes more than {MAX_BYTES:,} bytes")
    return data.decode("utf-8-sig").replace("\r\n", "\n")


def _parsed(text: str) -> dict[str, Any]:
    """What a file holds; raises ValueError for what takes the parser too long, before it begins."""
    if _MANY_PARTS.search(_QUOTED.sub("text", text)):
        raise ValueError("one of its names has more than 8 parts")
    return tomllib.loads(text)


def params_of(command: Any) -> dict[str, Any]:
    """A command's options by the names that a file calls them, as typed: --n-ctx is n_ctx."""
    return {_key(param): param for param in command.params if param.name != "help"}


def _key(param: Any) -> str:
    if param.param_type_name == "argument":
        return TEXT
    option: str = param.opts[0]
    return option.removeprefix("--").replace("-", "_")


def location_of(file: Path, *names: str) -> str:
    """The file and the line in which a key's value begins: names are its tables and its own.

    Of a long file it is the file alone: every line is tried with all before it.
    """
    text = _text(file)
    lines = text.split("\n") if len(text) < MANY_LETTERS else []
    begins = 1
    for n in range(1, len(lines) + 1):
        try:
            value: Any = tomllib.loads("\n".join(lines[:n]))
        except tomllib.TOMLDecodeError:  # in the middle of a value
            continue
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return f"{file}, line {begins}"
        begins = n + 1
    return str(file)


def checked_options(
    content: Mapping[str, Any], known: Mapping[str, Any], location: Callable[[str], str]
) -> dict[str, Any]:
    """Options as they would be typed; raises for one that there is not, or of the wrong kind.

    location: the file and line of an option, for errors.
    """
    options: dict[str, Any] = {}
    for name, value in content.items():
        param = known.get(name.replace("-", "_"))
        if param is None or name == "config":
            names = [key for key in known if key != "config"]
            raise GlassformerError(
                f"{location(name)}: {name!r} is no option of train.{did_you_mean(name, names)}"
                " `glassformer train --help` lists them all"
            )
        if _key(param) in options:
            raise GlassformerError(f"{location(name)}: {name} is given twice; give it once")
        try:
            options[_key(param)] = _as_typed(value, param)
        except ValueError as error:
            raise GlassformerError(
                f"{location(name)}: {name} = {reprlib.repr(value)} {error}; `glassformer train"
                " --help` says what each option takes"
            ) from error
    return options


def _as_typed(value: Any, param: Any) -> Any:
    """A value as its option takes it; raises ValueError with what it must be."""
    if isinstance(value, dict):  # such as weights = {stories = 0.7, poems = 0.3}
        if not all(isinstance(number, int | float) for number in value.values()):
            raise ValueError("must be numbers by name")
        value = ",".join(f"{key}={number}" for key, number in value.items())
    several = takes_several(param)
    flag = getattr(param, "is_flag", False)
    each = value if several and isinstance(value, list) else [value]
    fitting = bool if flag else str | int | float
    if not all(isinstance(item, fitting) and isinstance(item, bool) == flag for item in each):
        wanted = "true or false" if flag else "texts" if several else "one text or number"
        raise ValueError(f"must be {wanted}")
    if flag:
        return value
    typed = [*map(str, each)] if several else str(value)
    try:
        param.process_value(None, typed)
    except typer.BadParameter as error:
        must = error.message.partition(",")[0].replace("Input should be", "must be").rstrip(".")
        raise ValueError(must) from error
    return typed


def takes_several(param: Any) -> bool:
    return bool(param.multiple or param.nargs == -1)


def typed_options(ctx: typer.Context) -> dict[str, Any]:
    """The options that were typed or stood in a file, as a file has them, less `NOT_OF_A_RUN`."""
    arguments = {}
    for name, param in params_of(ctx.command).items():
        value = ctx.params.get(param.name)
        source = ctx.get_parameter_source(param.name)
        is_given = source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
        if is_given and value not in (None, [], ()) and name not in NOT_OF_A_RUN:
            arguments[name] = str(value) if isinstance(value, Path) else value
    return arguments
