"""Where the terminal's text is written: its width, its colors, its letters."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from glassformer.safe_text import harmless
from glassformer.show.labels import plain

Part = str | tuple[str, str]
"""A piece of a line: text, or text with its style."""

POSITIVE = "color(33)"  # blue
NEGATIVE = "color(166)"  # orange: the two are told apart by every kind of eye
QUIET = "dim"


class Sheet:
    """Lines on a console, never wider than it; one narrower than 60 columns wraps them."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.width = max(self.console.width, 60)

    def spell(self, text: str) -> str:
        """The text in letters that the console's encoding has and that steer no terminal."""
        text = harmless(text)
        return plain(text) if self.console.options.ascii_only else text

    def clip(self, text: str, width: int) -> str:
        """The text in at most `width` columns, an ellipsis for what does not fit."""
        text = self.spell(text)
        if cell_len(text) <= width:
            return text
        more = self.spell("…")
        if width <= len(more):
            return more[:width]
        return set_cell_size(text, width - len(more)).rstrip() + more

    def cell(self, text: str, width: int, right: bool = False) -> str:
        """The text in exactly `width` columns."""
        text = self.clip(text, width)
        space = " " * (width - cell_len(text))
        return space + text if right else text + space

    def line(self, *parts: Part) -> None:
        """One line, as it is; the caller has seen to its width."""
        text = Text()
        for part in parts:
            words, style = part if isinstance(part, tuple) else (part, "")
            text.append(self.spell(words), style)
        text.rstrip()
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def prose(self, text: str, style: str = "", indent: int = 0, hanging: int = 0) -> None:
        """A paragraph, wrapped; lines after the first are indented by `hanging` more."""
        first = True
        rest = Text(self.spell(text), style)
        while True:
            space = indent + (0 if first else hanging)
            lines = rest.wrap(self.console, self.width - space)
            lines[0].rstrip()
            self.line(" " * space, (lines[0].plain, style))
            if len(lines) == 1:
                return
            rest = Text(" ".join(line.plain.strip() for line in lines[1:]), style)
            first = False

    def title(self, text: str) -> None:
        """A chapter: its title on a line across the width."""
        text = self.clip(text, self.width - 4)
        rest = self.width - cell_len(text) - 4
        self.line()
        self.line((f"── {text} " + "─" * max(rest, 0), "bold"))
