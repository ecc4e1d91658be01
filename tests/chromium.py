"""The browser that the page is tested in."""

import os
import shutil

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    # a process of its own for every page that is opened takes longer than most tests
    "--disable-site-isolation-trials",
    "--renderer-process-limit=1",
]


def find_chromium() -> str | None:
    """Where Chromium is: $CHROMIUM, or the first one on the PATH."""
    configured = os.environ.get("CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome")
    return configured or next(filter(None, map(shutil.which, names)), None)
