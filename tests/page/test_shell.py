"""The page as it is built: its size."""

import base64
import gzip
import re

from glassformer.server.page import LATER, holding, later, template

SHELL_KB, LATER_KB, FONT_KB = 160, 82, 6
"""docs/decisions/0033: what the page may weigh, gzipped, without data: what Start and Story need,
with the engine; what the other views load; formulas' font."""


def gzipped(text: str) -> int:
    return len(gzip.compress(text.encode(), 9))


def test_the_shell_is_at_most_160_kb_gzipped_and_the_other_views_82_and_the_font_6() -> None:
    font = re.search(r"data:font/woff2;base64,([\w+/=]+)", template())
    assert font
    assert len(base64.b64decode(font[1])) <= FONT_KB * 1000
    shell = holding(template()).replace(font[1], "")
    assert gzipped(shell) <= SHELL_KB * 1000
    assert sorted(later(template())) == sorted(LATER)
    assert sum(map(gzipped, later(template()).values())) <= LATER_KB * 1000
