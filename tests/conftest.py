"""What every test needs: one thread, shapes and types enforced, examples drawn alike in CI."""

import gc
import os
import random
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.chromium import find_chromium
from tests.typecheck import check_calls_of, new_test

# Tiny models are slower with two threads when the machine is loaded.
torch.set_num_threads(1)

# What is compiled is kept from run to run, apart from the developer's own and other projects'.
root = Path(__file__).resolve().parent.parent
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(root / ".torchinductor"))
os.environ["XDG_CACHE_HOME"] = str(root / ".caches")

# Annotations, shapes included, are checked. torch.compile does not go with these
# checks, so tests of compiled code run it in a subprocess, where this hook is not installed.
check_calls_of("glassformer")

# A loaded machine makes any deadline flaky. The same examples every time, everywhere; whoever
# wants others gives pytest `--hypothesis-profile=explore`.
unhurried = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("explore", **unhurried)
settings.register_profile("repeat", derandomize=True, **unhurried)
settings.load_profile("repeat")

# The browser's tests need a browser; without one, a developer is told so and CI fails.
if find_chromium() is None and not os.environ.get("CI"):
    collect_ignore = ["browser"]


# Lessons train small models, which are there for every test of the same process.
COURSE = (
    "tests/course/",
    "tests/browser/test_course.py",
    "tests/docs/test_lessons.py",
    "tests/server/test_course.py",
    "tests/server/test_schema.py",
)


class ByFile(LoadFileScheduling):
    """A file's tests go to one worker, and so do all of the course's."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return COURSE[0] if file.startswith(COURSE) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """One worker reads the tests from the end: of what each compiles the other finds half done."""
    report = yield
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1" and not isinstance(collector, pytest.File):
        report.result.reverse()
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what needs no trained run: one worker trains it while the other is busy so."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, str]:
    file = item.nodeid.partition("::")[0]
    return not file.startswith("tests/page/"), file


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what the imports left is not looked through again and again


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test, its fixtures too, draws the same numbers, whatever ran before it."""
    new_test(item.nodeid.partition("::")[0])
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (libraries draw from it)
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter):
    """Say loudly that the browser's tests did not run."""
    if find_chromium() is None:
        terminalreporter.section("BROWSER TESTS DID NOT RUN", red=True, bold=True)
        terminalreporter.line("no Chromium was found: install one (Debian: apt install chromium)")
