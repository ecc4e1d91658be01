"""Reading JSON that anyone may have written or damaged: one parser, one schema a file, one error.

A schema is a pydantic type. What it says is checked strictly (no text for a number, no `true` for
1), what it does not name is let past: a newer version may have written it.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from glassformer.errors import GlassformerError

MAX_BYTES = 16 * 1024 * 1024  # the largest real ones, indexes of sharded models, take under 1 MB
DEEPEST = 64  # lists and objects within one another; our own files take 5
LARGEST = 2**63 - 1  # of the whole numbers in our files: sizes, steps, seeds

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
T = TypeVar("T")


class DamagedFileError(GlassformerError):
    """A file that does not hold what it should: `file`, and `field` where one field is wrong.

    >>> raise DamagedFileError(Path("run.json"), "has no 'format'", "train again", "format")
    Traceback (most recent call last):
    ...
    glassformer.jsons.DamagedFileError: run.json has no 'format'; train again
    """

    def __init__(self, file: Path, problem: str, fix: str, field: str | None = None) -> None:
        super().__init__(f"{file} {problem}; {fix}")
        self.file, self.field = file, field


STRICT = ConfigDict(strict=True, allow_inf_nan=False)
"""How a schema checks: types as they are, numbers finite unless a field says otherwise."""

OPEN = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")
"""The same, and what the schema does not name is kept."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def self_checking(from_dict: Callable[[dict[str, Any]], T]) -> PlainValidator:
    """The schema of an object that checks itself, such as a configuration, where it is made."""

    def made(content: Any) -> T:
        if not isinstance(content, dict):
            raise ValueError(f"it must be an object, {{...}}, and is {kind(content)}")
        try:
            return from_dict(content)
        except GlassformerError as error:
            raise ValueError(str(error)) from error

    return PlainValidator(made)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model folder; raises for a missing, huge or damaged one."""
    if not path.is_file():
        raise GlassformerError(f"there is no {path}; give a folder that holds a whole model")
    if path.stat().st_size > MAX_BYTES:
        raise GlassformerError(
            f"{path} takes {path.stat().st_size:,} bytes and at most {MAX_BYTES:,} are read;"
            " it is not what its name says"
        )
    return parse_object(path.read_bytes(), path, "save it again", constants=False)


class Schema(Generic[T]):
    """What one of our files must hold: a TypedDict or a pydantic model, whose checks are STRICT."""

    def __init__(self, content: type[T]) -> None:
        self._adapter: Any = TypeAdapter(content)

    def read(self, path: Path, fix: str, *, version: int | None = None) -> T:
        """The content of a file; `version` is what its "format" must be."""
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DamagedFileError(path, "is a pipe or a device and no file", fix)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DamagedFileError(path, f"can't be read ({error.strerror})", fix) from error
        content = parse_object(data, path, fix)
        if version is not None and content.get("format", version) != version:
            raise DamagedFileError(
                path,
                f"has format {reprlib.repr(content['format'])}, this version reads {version}",
                "use the version of Glassformer that wrote it",
                "format",
            )
        return self.check(content, path, fix)

    def check(self, content: Any, path: Path, fix: str, within: str = "") -> T:
        """Content that was read from a file; an error names the file and the first wrong field.

        within: the field of the file that the content is.
        """
        try:
            checked: T = self._adapter.validate_python(content)
            return checked
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
        field = ".".join(filter(None, (within, _path(first["loc"]))))
        raise DamagedFileError(path, _problem(field, first), fix, field)


def parse_object(
    data: bytes, path: Path, fix: str, *, constants: bool = True, deepest: int = DEEPEST
) -> dict[str, Any]:
    """A file's bytes as the JSON object they must be.

    constants: whether NaN and Infinity, which Python writes and JSON has not, may be in it.
    """
    try:
        content = json.loads(
            data.decode("utf-8"), parse_constant=float if constants else _refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"is not valid JSON ({error})", fix) from error
    if not isinstance(content, dict):
        said = f"must hold a JSON object, {{...}}, and is {kind(content)}"
        raise DamagedFileError(path, said, fix)
    if data.count(b"[") + data.count(b"{") > deepest and _is_deeper(content, deepest):
        raise DamagedFileError(
            path, f"has more than {deepest} lists and objects within one another", fix
        )
    if _SURROGATE.search(data) and _has_surrogate(content):
        raise DamagedFileError(path, "holds a lone surrogate, half of a character", fix)
    return content


def kind(value: object) -> str:
    """What JSON calls a value, for an error message."""
    if value is None:
        return "null"
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def _problem(field: str, error: Any) -> str:
    if error["type"] == "missing":
        return f"has no {field!r}"
    if error["type"] == "value_error":
        return f"has a wrong {field}: {error['msg'].removeprefix('Value error, ')}"
    said = error["msg"].replace("Input should", "it should")
    return f"has {reprlib.repr(error['input'])} as {field}, and {said}"


def _path(loc: Iterable[str | int]) -> str:
    """
    >>> _path(("steps", 3, "shape"))
    'steps[3].shape'
    """
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return parts.removeprefix(".")


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _is_deeper(content: Any, most: int) -> bool:
    level = [content]
    for _ in range(most):
        level = [child for value in level for child in _children(value)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _has_surrogate(content: Any) -> bool:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
