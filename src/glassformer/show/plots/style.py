"""How pictures look and are written: light, large letters, colors every eye tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.show.labels import plain, visible

FORMATS = ("png", "svg")
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito 2008
INK, FAINT, PALE = "#222222", "#767676", "#e4e4e4"
PROBABILITY = LinearSegmentedColormap.from_list(
    "probability", ["#ffffff", "#dcd0ee", "#a98bd3", "#6f42ad", "#3a1070"]
)
TITLE, LABEL, TICK = 20, 16, 14  # points
DPI = 110
_FONT = "DejaVu Sans"  # comes with matplotlib, so a picture is the same everywhere


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; it belongs to nobody's window."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def write(figure: Figure, path: Path) -> Path:
    """Write a picture, the same bytes for the same figure."""
    if path.suffix[1:] not in FORMATS:
        raise GlassformerError(f"{path} is neither .png nor .svg; give one of these")
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": "glassformer"}
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "glassformer", "font.family": _FONT}):
        figure.savefig(picture, format=path.suffix[1:], metadata=metadata)
    write_atomically(path, picture.getvalue())
    return path


def title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=TITLE, color=INK, parse_math=False)


def note(figure: Figure, text: str) -> Text:
    """A quiet line below everything."""
    return figure.supxlabel(text, fontsize=TICK, color=FAINT)


def name_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)
    axes.tick_params(labelsize=TICK, colors=INK)


def open_frame(axes: Axes) -> None:
    """Only the left and lower lines of a frame, and pale lines behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def as_written(labels: Sequence[Text]) -> None:
    """Take dollar signs as dollar signs: a token is no formula."""
    for label in labels:
        label.set_parse_math(False)


def drawable(token: str, longest: int = 16) -> str:
    """A token in the letters that the pictures' font has; others are spelled, long ones cut.

    >>> drawable(" cat"), drawable("\\n"), drawable("日")
    ('␣cat', '⏎', '\\\\u65e5')
    """
    text = visible(token)
    written = "".join(letter if _has(letter) else plain(letter) for letter in text)
    return written if len(written) <= longest else written[: longest - 1] + "…"


@cache
def _has(letter: str) -> bool:
    font = font_manager.get_font(font_manager.findfont(_FONT))
    return font.get_char_index(ord(letter)) != 0
