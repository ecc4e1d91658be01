"""A real Chromium on a really served run; what the page does wrong in silence fails the test."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.prepare import new_run
from tests.browser.serving import serve_by_command
from tests.chromium import FLAGS, find_chromium

expect.set_options(timeout=60_000)  # a loaded machine takes its time over a trace


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    chromium = find_chromium()
    assert chromium, "no Chromium was found: install one (Debian: apt install chromium)"
    return {"executable_path": chromium, "args": FLAGS}


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Storyland model after 60 steps, with its snapshots and metrics; trained once for all."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers
    folder = root / "page" / "small"
    with FileLock(root / "page.lock"):
        if not folder.exists():
            choices = Choices(preset="storyland", recipe={"steps": 60}, device="cpu")
            prepared = new_run(folder, choices)
            with prepared.run:
                train(prepared.model, prepared.data, prepared.recipe, run=prepared.run)
    return folder


@pytest.fixture(scope="session")
def server(run_folder: Path) -> Iterator[str]:
    """The address of a server with that run, `small`, and the preset `miniature`."""
    with serve_by_command(str(run_folder), "miniature") as url:
        yield url


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are written hold recorded numbers, as if every model were too large to run."""
    monkeypatch.setattr("glassformer.server.runnable.MODEL_BYTES", 0)


@pytest.fixture(scope="session")
def tab(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[Page]:
    """The one tab of a worker: a window for each test takes the processor as long as the test."""
    context = browser.new_context(**browser_context_args)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """A page that may neither complain in its console nor ask the outside world for anything."""
    problems: list[str] = []
    listeners: dict[Any, Any] = {
        "console": lambda message: problems.extend(_complaint(message)),
        "pageerror": lambda error: problems.append(str(error)),
        "request": lambda request: problems.extend(_outside(request.url)),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield tab
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    _as_new(tab)
    assert not problems, problems


def _as_new(tab: Page) -> None:
    """Forget what a test has opened, stored, allowed, intercepted and set."""
    context = tab.context
    for other in context.pages:
        if other is not tab:
            other.close()
    tab.unroute_all(behavior="ignoreErrors")
    tab.goto("about:blank")
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.emulate_media(media="null", color_scheme="null", reduced_motion="null")
    context.set_offline(False)
    context.clear_permissions()
    context.clear_cookies()
    session = context.new_cdp_session(tab)
    session.send("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    session.detach()


def _complaint(message: ConsoleMessage) -> list[str]:
    # a request that the server refuses is logged by the browser; what the page says of it is tested
    refused = re.search(r"responded with a status of 4|net::ERR_FAILED", message.text)
    return [message.text] if message.type in ("error", "warning") and not refused else []


def _outside(url: str) -> list[str]:
    local = ("http://127.0.0.1:", "file:", "data:", "blob:", "about:")
    return [] if url.startswith(local) else [f"asked for {url}"]
