"""A training's options as a TOML file: what was asked for, to be asked for again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

FILE = "train.toml"
"""In a run's folder; `glassformer train --config` reads it."""


def to_toml(options: Mapping[str, Any]) -> str:
    r"""Options as lines of TOML: text, numbers, true and false, and lists and tables of these.

    >>> print(to_toml({"text": ["a.txt", 'b "c"'], "lr": 3e-4, "weights": {"a": 0.7}}), end="")
    text = ["a.txt", "b \"c\""]
    lr = 0.0003
    weights = {"a" = 0.7}
    """
    return "".join(f"{name} = {_spelled(value)}\n" for name, value in options.items())


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_spelled(key)} = {_spelled(each)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spelled, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan, inf and -inf, which JSON has not
    # JSON's text, numbers, true and false are TOML's, but for one letter
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
