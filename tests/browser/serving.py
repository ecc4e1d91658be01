"""A server of its own process, as a user starts it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serve(*runs: str, cwd: Path | None = None) -> Iterator[str]:
    """The address of `glassformer serve RUNS` while it runs; new runs go to `runs` below `cwd`."""
    command = [sys.executable, "-m", "glassformer", "serve", *runs, "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        result = re.search(r"http://\S+", line)
        try:
            assert result, f"the server said {line!r}"
            yield result[0]
        finally:
            process.terminate()
