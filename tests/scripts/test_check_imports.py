"""Imports point one way."""

from pathlib import Path

import pytest

from scripts.check_imports import broken_rules


def package_with(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = tmp_path / "src" / "glassformer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return tmp_path / "src"


def test_glassformer_itself_obeys():
    assert broken_rules(Path(__file__).parents[2] / "src") == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ops/a.py", "from glassformer.trace.tape import Tape"),
        ("trace/a.py", "import torch\nimport glassformer.model.config"),
        ("model/a.py", "def f():\n    from ..training import loop"),
        ("trace/a.py", "from glassformer.text import tokenizer"),
        ("text/a.py", "from glassformer.model.config import Config"),
        ("show/a.py", "from glassformer.text.tokenizer import Tokenizer"),
        ("generation/a.py", "if TYPE_CHECKING:\n    from glassformer.training.loop import Run"),
        ("errors.py", "from glassformer.formula import tree"),
        ("cli/a.py", "import glassformer as gf"),
        ("cli/__init__.py", "from .. import Config"),
        ("attic/a.py", "import torch"),
    ],
)
def test_an_import_against_the_line_is_named_with_file_and_line(tmp_path, file, source):
    (complaint,) = broken_rules(package_with(tmp_path, {file: source}))
    line = 1 if file.startswith("attic") else source.count("\n") + 1
    assert f"{file}:{line}: " in complaint


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "from glassformer.cli.app import main"),
        ("cli/a.py", "from glassformer.show import table\nfrom glassformer import errors"),
        ("model/a.py", "from . import config\nfrom ..ops.glossary import AXES\nimport torch"),
        ("model/__init__.py", "from .config import Config"),
        ("training/a.py", "from glassformer.text.shard import Shard"),
        ("show/a.py", "from glassformer.trace import Step\nfrom glassformer.errors import E"),
    ],
)
def test_an_import_along_the_line_passes(tmp_path, file, source):
    assert broken_rules(package_with(tmp_path, {file: source})) == []
