"""The build of the package builds the page first, when it is stale."""

import importlib.util
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _page_script():
    path = Path(__file__).parent / "scripts" / "page.py"
    spec = importlib.util.spec_from_file_location("page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CustomBuildHook(BuildHookInterface):
    """Runs `scripts/page.py`; asks for Node only when there is something to build."""

    def dependencies(self):
        page = _page_script()
        return [] if page.is_fresh() else [page.NODE]

    def initialize(self, version, build_data):  # noqa: ARG002 (the interface is hatchling's)
        status = _page_script().main([])
        if status:
            raise SystemExit(status)
