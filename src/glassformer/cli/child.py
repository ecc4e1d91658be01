"""`glassformer train` as a child of the server or a sweep: it ends when that or its folder goes.

Its parent holds the other end of its standard input, which closes with the parent, however that
ends: SIGKILL too.
"""

from __future__ import annotations

import os
import runpy
import select
import signal
import sys
import threading
import time
from pathlib import Path

from glassformer.cli.streams import say_at_once

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long a training whose parent has gone may take to save; nobody waits for it any more."""


def main() -> None:
    """Run the command line that follows, and watch."""
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    threading.Thread(target=watch, args=[out], daemon=True).start()
    runpy.run_module("glassformer", run_name="__main__")


def watch(out: Path) -> None:
    """Save and end when standard input closes; end at once when the run in `out` disappears."""
    begun = False
    while not select.select([0], [], [], POLL_SECONDS)[0] or os.read(0, 1024):
        exists = (out / "run.json").exists()
        if begun and not exists:
            _end(b"the run's folder was moved or deleted, so its training has ended")
        begun = begun or exists
    say_at_once(b"what started this training has gone")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    _end(b"it took too long to save; the last checkpoint is intact")


def _end(why: bytes) -> None:
    say_at_once(why)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
