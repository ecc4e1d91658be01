"""Pages as `glassformer page` writes them, without a process of its own."""

from pathlib import Path
from typing import Any

from glassformer.cli import page


def export(run: str, prompt: str, out: Path, **options: Any) -> Path:
    """`glassformer page RUN PROMPT --out FILE`."""
    page.command(run, prompt, out, **options)
    return out
