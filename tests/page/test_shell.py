"""The page as it is built: its size."""

import gzip

from glassformer.server.page import template

SHELL_KB = 200
"""docs/decisions/0033: what the page may weigh, gzipped, without data."""


def test_the_shell_is_at_most_200_kb_gzipped() -> None:
    assert len(gzip.compress(template().encode(), 9)) <= SHELL_KB * 1000
