"""The console for progress and tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from glassformer.safe_text import harmless


class SafeConsole(Console):
    """Prints words as they are (no line breaks in paths, no markup), and steers no terminal."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, soft_wrap=True, **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(harmless(text), style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, as `print` does; rich would end the process here."""
        raise
