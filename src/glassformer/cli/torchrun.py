"""What torchrun tells the processes that it starts, and how one of them ends with an error."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from glassformer.safe_text import harmless


def restarted() -> bool:
    """Whether torchrun has started the job again, after one of its processes was gone."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def is_repeated() -> bool:
    """Whether the first of several processes meets what this one does, and says it."""
    return "TORCHELASTIC_ERROR_FILE" in os.environ and os.environ.get("RANK", "0") != "0"


def leave_for_torchrun(line: str) -> None:
    """Why this process ends, where torchrun looks for it: its own report ends with this line."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file is not None:
        failure = {"message": harmless(line), "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(file).write_text(json.dumps({"message": failure}), encoding="utf-8")
