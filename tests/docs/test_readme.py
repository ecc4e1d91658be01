"""The README tells the truth: what it shows is what is printed."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from glassformer.cli import app as cli
from tests.calculator import gives, holds
from tests.command_line import Command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"```console\n\$ (.*?)\n(.*?)```", README, re.DOTALL)
LEFT_OUT = "…"


@pytest.mark.parametrize(("line", "shown"), CONSOLE, ids=[line for line, _ in CONSOLE])
def test_a_shown_command_prints_what_is_shown(
    line: str, shown: str, glassformer: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(line)
    assert program == "glassformer"
    code, printed, _ = glassformer(*arguments)
    assert code == 0
    pattern = "".join(
        r"(?:.*\n)*?" if part == LEFT_OUT else re.escape(part.rstrip()) + r"[ ]*\n"
        for part in shown.splitlines()
    )
    assert re.fullmatch(rf"\n*{pattern}\n*", printed + "\n"), printed


def test_the_python_example_prints_what_is_shown():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    test = doctest.DocTestParser().get_doctest(example, {}, "README", "README.md", 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_arithmetic_in_the_readme_is_true_as_printed():
    lines = re.findall(r"^ *(\w+ = .+)\n +(= \S+)$", README, re.M)
    assert len(lines) >= 2
    for numbers, result in lines:
        assert holds(f"{numbers} {result}"), numbers
    u, low, high = re.findall(r"u = (\S+) fell into \[(\S+), (\S+)\)", README)[0]
    assert float(low) <= float(u) < float(high)
    loss, above, floor = re.findall(r"loss (\S+), (\S+) above the floor of (\S+)", README)[0]
    assert gives(f"{loss} - {floor}", above)


def test_every_command_is_in_the_table_with_what_it_does():
    for verb, summary in cli.VERBS.items():
        assert f"| `{verb}` | {summary} |" in README


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_file_that_is_linked_to_is_there(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    assert len(links) >= 1
    for link in links:
        assert link.startswith("https://") or (ROOT / link).is_file(), link


def test_the_picture_of_the_walk_moves_and_is_at_most_600_kb() -> None:
    path = ROOT / "docs/assets/walk.webp"
    assert f"/docs/assets/{path.name}" in README
    assert path.stat().st_size <= 600_000
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) >= 10


def test_the_guide_names_every_control_that_a_link_can_hide():
    guide = (ROOT / "docs/guide/page.md").read_text(encoding="utf-8")
    named = re.findall(r"leaves controls out: (.+?), joined", guide, re.S)[0]
    views = (path.read_text(encoding="utf-8") for path in (ROOT / "web/src").rglob("*.svelte"))
    hidden = {name for view in views for name in re.findall(r'hides\("(\w+)"\)', view)}
    assert set(re.findall(r"`(\w+)`", named)) == hidden
