"""The pieces of a notebook view: escaped, self-contained, readable on light and on dark."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from glassformer.formula.spelling import number
from glassformer.show.fold import Fold
from glassformer.show.values import why_masked

VIOLET = (123, 77, 190)  # probabilities: one hue, as strong as the weight
STRONGEST = 0.55  # opacity of a cell's color: text in the page's own color stays readable

# colors are laid over whatever the page's background is; text keeps the page's own color
STYLE = """<style>
.glassformer {font-variant-numeric: tabular-nums; line-height: 1.4; overflow-x: auto}
.glassformer table {border-collapse: collapse; margin: .3em 0; color: inherit}
.glassformer th, .glassformer td {padding: .1em .5em; text-align: right; color: inherit;
  background-color: transparent; border: 1px solid rgba(128, 128, 128, .25); white-space: nowrap}
.glassformer th {font-weight: 600}
.glassformer td.plus {background-color: rgba(0, 114, 178, var(--s))}
.glassformer td.minus {background-color: rgba(213, 94, 0, var(--s))}
.glassformer td.weight {background-color: rgba(123, 77, 190, var(--s))}
.glassformer td.masked, .glassformer .mask {background-image: repeating-linear-gradient(
  45deg, rgba(128, 128, 128, .45) 0 1px, transparent 1px 5px)}
.glassformer .quiet {opacity: .7; font-size: .9em}
.glassformer code, .glassformer pre {color: inherit; background: transparent; white-space: pre-wrap}
.glassformer summary {cursor: pointer; font-weight: 600; margin: .2em 0}
.glassformer .row {display: flex; flex-wrap: wrap; gap: 1em}
.glassformer .map {position: relative; width: 14em; height: 14em;
  border: 1px solid rgba(128, 128, 128, .5)}
.glassformer .map img, .glassformer .map .mask {position: absolute; inset: 0; width: 100%;
  height: 100%; margin: 0; image-rendering: pixelated}
.glassformer .bar {display: inline-block; height: .8em; background: rgb(123, 77, 190)}
</style>"""


def tag(name: str, inside: str = "", **attributes: str) -> str:
    """An element around HTML that is already escaped; attribute values are escaped here.

    >>> tag("td", escape("<b>"), class_="quiet", title='"')
    '<td class="quiet" title="&quot;">&lt;b&gt;</td>'
    """
    written = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{inside}</{name}>"


def view(*parts: str) -> str:
    """The whole view: its style and its parts."""
    return STYLE + tag("div", "\n".join(part for part in parts if part), class_="glassformer")


def details(title: str, *parts: str, opened: bool = False) -> str:
    """Something that unfolds; `title` is text."""
    inside = tag("summary", escape(title)) + "".join(parts)
    return f"<details{' open' if opened else ''}>{inside}</details>"


def quiet(text: str) -> str:
    return tag("div", escape(text), class_="quiet") if text else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, its first column the rows' names."""
    head = tag("tr", "".join(tag("th", escape(text), scope="col") for text in heads))
    body = "".join(
        tag(
            "tr",
            tag("th", escape(first), scope="row") + "".join(tag("td", escape(c)) for c in rest),
        )
        for first, *rest in rows
    )
    return tag("table", head + body)


def matrix_table(
    matrix: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    corner: str,
    folds: tuple[Fold, Fold],
    masked: np.ndarray | None = None,
    signed: bool = True,
) -> str:
    """Numbers over colors: blue and orange for signed ones, violet for probabilities."""
    finite = np.abs(matrix[np.isfinite(matrix)])
    most = float(finite.max()) if signed and finite.size else 1.0
    rows, columns = folds
    head = "".join(
        tag("th", "…" if c is None else escape(column_labels[c]), scope="col")
        for c in columns.places
    )
    why = "" if masked is None else f"masked: {why_masked(masked)}"
    body = [tag("tr", tag("th", escape(corner), scope="col") + head)]
    for r in rows.places:
        if r is None:
            body.append(tag("tr", tag("th", "…")))
            continue
        cells = [tag("th", escape(row_labels[r]), scope="row")]
        for c in columns.places:
            if c is None:
                cells.append(tag("td", "…"))
            elif masked is not None and masked[r, c]:
                cells.append(tag("td", class_="masked", title=why))
            else:
                cells.append(_number_cell(matrix[r, c].item(), most, signed))
        body.append(tag("tr", "".join(cells)))
    return tag("table", "".join(body))


def _number_cell(value: float, most: float, signed: bool) -> str:
    strength = min(abs(value) / most, 1.0) * STRONGEST if most and np.isfinite(value) else 0.0
    hue = "weight" if not signed else "plus" if value > 0 else "minus"
    return tag("td", number(value), class_=hue, style=f"--s:{strength:.2f}", title=f"{value:.9g}")


def shaded_map(weights: np.ndarray, masked: np.ndarray) -> str:
    """[query, key] weights as one small picture, a pixel a cell; masked cells are hatched."""
    alpha = np.where(masked, 0, np.round(np.clip(weights, 0, 1) * 255)).astype(np.uint8)
    pixels = np.empty((*alpha.shape, 4), dtype=np.uint8)
    pixels[..., :3], pixels[..., 3] = VIOLET, alpha
    source = "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
    summary = f"attention map, {len(weights)} tokens"
    hatch = tag("div", class_="mask", style=_staircase(len(weights))) if masked.any() else ""
    return tag("div", f'<img src="{source}" alt="{summary}">{hatch}', class_="map")


def _staircase(n: int) -> str:
    """The cells above the diagonal as a clip path."""
    corners = ["100% 0"]
    for step in range(1, n):
        corners += [f"{100 * step / n:.2f}% {100 * (step - 1) / n:.2f}%"]
        corners += [f"{100 * step / n:.2f}% {100 * step / n:.2f}%"]
    corners.append(f"100% {100 * (n - 1) / n:.2f}%")
    return f"clip-path: polygon({', '.join(corners)})"


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of [row, column, 4] bytes (red, green, blue, opacity).

    >>> png(np.zeros((1, 1, 4), dtype=np.uint8))[:4]
    b'\\x89PNG'
    """
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each row's filter: none
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
