"""Reading the small JSON files of a model folder, from people and programs unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from glassformer.errors import GlassformerError

MAX_BYTES = 16 * 1024 * 1024  # the largest real ones, indexes of sharded models, take under 1 MB


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises for a missing, huge or damaged one."""
    if not path.is_file():
        raise GlassformerError(f"there is no {path}; give a folder that holds a whole model")
    if path.stat().st_size > MAX_BYTES:
        raise GlassformerError(
            f"{path} takes {path.stat().st_size:,} bytes and at most {MAX_BYTES:,} are read;"
            " it is not what its name says"
        )
    try:
        content = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise GlassformerError(f"{path} is not valid JSON ({error}); save it again") from error
    if not isinstance(content, dict):
        raise GlassformerError(f"{path} must hold a JSON object, {{...}}; save it again")
    return content


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
