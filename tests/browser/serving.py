"""Servers for the browser: a process of its own, as a user starts it, or one in this process."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from tests.server.served import listening


@contextmanager
def serve(*runs: str, folder: Path = Path("runs")) -> Iterator[str]:
    """The address of a server of these runs in this process; new runs go to `folder`."""
    with listening(create_app(Runs(list(runs)), folder=folder)) as (port, _):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def serve_by_command(*runs: str) -> Iterator[str]:
    """The address of `glassformer serve RUNS` while it runs."""
    command = [sys.executable, "-m", "glassformer", "serve", *runs, "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        result = re.search(r"http://\S+", line)
        try:
            assert result, f"the server said {line!r}"
            yield result[0]
        finally:
            process.terminate()
