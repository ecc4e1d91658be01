"""The page about extending Glassformer: what it says, done to a copy of the sources, works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.page import run_npm, run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "extend.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```\{code-block\} (\w+)\n:caption: ([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE
)
EDIT = re.compile(r"(new file|at the end of) (\S+)|(\S+), (before|after) \"(.*)\"")


def blocks(heading: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Language, caption and text of the page's blocks, or of those under a heading."""
    section = PAGE if heading is None else PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    yield from BLOCK.findall(section)


def follow(caption: str, text: str, tree: Path) -> None:
    """Do to the tree what a block says."""
    edit = EDIT.fullmatch(caption)
    assert edit is not None, caption
    kind, created, changed, side, mark = edit.groups()
    path = tree / (created or changed)
    before = "" if kind == "new file" else path.read_text(encoding="utf-8")
    lines = before.splitlines(keepends=True)
    if kind:
        assert before or not path.exists()
        lines.append(text)
    else:
        (index,) = [i for i, line in enumerate(lines) if line.startswith(mark)]
        lines.insert(index + (side == "after"), text)
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, with everything added that the page tells to add."""
    copy = tmp_path_factory.mktemp("tree")
    left_out = shutil.ignore_patterns("__pycache__", "node_modules", "dist", "page.html")
    for part in ("src", "tests", "web", "scripts"):
        shutil.copytree(ROOT / part, copy / part, ignore=left_out)
    for _, caption, text in blocks():
        if caption != "try":
            follow(caption, text, copy)
    return copy


def python(tree: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}"},
        capture_output=True,
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_an_op_a_part_a_function_a_family_and_a_command_are_added_as_the_page_says(tree: Path):
    tried = [text for _, caption, text in blocks() if caption == "try"]
    assert len(tried) == 5
    separate = (f"exec(compile({text!r}, 'try', 'exec'), {{}})" for text in tried)
    assert python(tree, "-c", "\n".join(separate)).split()  # the longest token


@pytest.mark.heavy  # collects all tests of ops
def test_the_added_op_part_and_function_stand_every_test_of_ops_models_and_functions(tree: Path):
    python(
        *(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not heavy"),
        *(
            "-k",
            "softsign or gain or gains or atan or both or table",
            "tests/ops",
            "tests/model/test_oracle.py",
            "tests/model/test_size.py",
            "tests/trace/test_completeness.py",
            "tests/formula/test_functions.py",
        ),
        *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tree)),
    )


@pytest.mark.heavy  # types of the whole page
def test_a_view_is_added_as_the_page_says_and_the_page_is_built(tree: Path):
    web = tree / "web"
    (web / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    run_script("check", web)
    run_npm(["exec", "vite", "build"], web)
    assert ".ids.join(" in (web / "dist" / "index.html").read_text(encoding="utf-8")
