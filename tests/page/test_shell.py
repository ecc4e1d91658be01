"""The page as it is built: its size, and its own tests that need no browser."""

import gzip

from glassformer.server.page import template
from scripts import page

SHELL_KB = 160
"""docs/decisions/0024: what the page may weigh, gzipped, without data."""


def test_the_shell_is_at_most_160_kb_gzipped() -> None:
    assert len(gzip.compress(template().encode(), 9)) <= SHELL_KB * 1000


def test_the_unit_tests_of_the_page_pass() -> None:
    page.run_script("test:unit")
