"""The page as it is built: its size."""

import base64
import gzip
import re

from glassformer.server.page import template

SHELL_KB, FONT_KB = 200, 6
"""docs/decisions/0033: what the page may weigh, gzipped, without data; formulas' font apart."""


def test_the_shell_is_at_most_200_kb_gzipped_and_its_font_6_kb() -> None:
    font = re.search(r"data:font/woff2;base64,([\w+/=]+)", template())
    assert font
    assert len(base64.b64decode(font[1])) <= FONT_KB * 1000
    shell = template().replace(font[1], "")
    assert len(gzip.compress(shell.encode(), 9)) <= SHELL_KB * 1000
