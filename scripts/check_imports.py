"""Check that imports inside Glassformer point one way, so that the story can be read in order.

    kernels <- ops <- trace <- model <- interop <- generation <- training <- lab <- server <- cli

A package may import those before it in this line. `text` and `show` know those up to `trace` only;
`model` may use `text`, and every package after it both. `describe`, `errors`, `files`, `jsons`,
`memory` and `safe_text` are for all. Nothing inside imports from the top, `glassformer` itself: it
only gathers the public names.

    python scripts/check_imports.py         prints file:line and the rule broken; exit code 1 if any
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LINE = (
    *("kernels", "ops", "trace", "model", "interop"),
    *("generation", "training", "lab", "server", "cli"),
)
SIDE = {"text": "model", "show": "interop"}  # they know those up to trace; who may use them first
BASE = ("describe", "errors", "files", "jsons", "memory", "safe_text")  # for all; know each other
PACKAGES = {*LINE, *SIDE, *BASE}
TOP = {"glassformer", "glassformer.__main__"}  # these may import anything


def allowed(package: str) -> set[str]:
    """Return the packages that `package` may import, itself among them.

    >>> sorted(allowed("show") - set(BASE))
    ['kernels', 'ops', 'show', 'trace']
    >>> "text" in allowed("trace"), "text" in allowed("model"), "show" in allowed("model")
    (False, True, False)
    """
    known = {package, *BASE}
    if package in BASE:
        return known
    if package in SIDE:
        return known | {"kernels", "ops", "trace"}
    place = LINE.index(package)
    sides = {side for side, first in SIDE.items() if place >= LINE.index(first)}
    return known | set(LINE[:place]) | sides


def imported_modules(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield the line and the absolute name of everything that a module's source imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            if node.level:
                parents = parents[: len(parents) - node.level + is_package]
            base = ".".join(parents) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            if source == "glassformer":
                for alias in node.names:
                    yield node.lineno, f"glassformer.{alias.name}"
            else:
                yield node.lineno, source


def broken_rules(source_folder: Path) -> list[str]:
    """Return one line for each import under source_folder/glassformer that breaks the rule."""
    complaints = []
    for path in sorted((source_folder / "glassformer").rglob("*.py")):
        parts = path.relative_to(source_folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        if module in TOP:
            continue
        package = module.split(".")[1]
        if package not in PACKAGES:
            complaints.append(f"{path}:1: {package} has no place in the line; see {__file__}")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for line, imported in imported_modules(tree, module, is_package):
            first, _, rest = imported.partition(".")
            target = rest.split(".")[0]
            if first != "glassformer" or target in allowed(package):
                continue
            if target in PACKAGES:
                rule = f"{package} may import {', '.join(sorted(allowed(package) - {package}))}"
                complaints.append(f"{path}:{line}: {package} imports {target}; {rule}")
            else:
                rule = "import from the module that defines the name"
                complaints.append(f"{path}:{line}: {package} imports from glassformer; {rule}")
    return complaints


if __name__ == "__main__":
    found = broken_rules(Path(__file__).resolve().parent.parent / "src")
    print("\n".join(found) if found else "Imports point one way.")
    sys.exit(1 if found else 0)
