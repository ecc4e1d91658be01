"""On how many examples a property is tried: on few among the quick tests, on more by test-all."""

import os

from hypothesis import settings

TIMES = int(os.environ.get("EXAMPLES_TIMES", "1"))


def examples(n: int) -> settings:
    """So many, and by `make test-all` ten times as many."""
    return settings(max_examples=n * TIMES)
