"""What the package says of itself agrees with what it is."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_type_checkers_of_others_read_the_types_of_the_package():
    assert (ROOT / "src" / "glassformer" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_images_of_the_readme_are_seen_outside_of_the_repository():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    images = re.findall(r'<img src="([^"]+)"', readme) + re.findall(r"!\[.*?\]\((.*?)\)", readme)
    assert images
    home = PROJECT["urls"]["Homepage"].replace("github.com", "raw.githubusercontent.com")
    for image in images:
        assert image.startswith(f"{home}/main/")
        assert (ROOT / image.removeprefix(f"{home}/main/")).is_file()


def test_the_citation_names_this_version_and_this_repository():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    required = {"cff-version", "message", "title", "authors"}  # by the schema of 1.2.0
    assert required <= citation.keys()
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert citation["license"] == PROJECT["license"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{PROJECT['version']}] - {citation['date-released']}" in changelog
