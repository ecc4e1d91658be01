"""Imports point one way, in the order of the story, and no files go in a circle."""

from pathlib import Path

from importlinter import cli


def test_every_contract_of_the_layers_is_kept(capsys):
    config = Path(__file__).parent.parent / "pyproject.toml"
    assert cli.lint_imports(config_filename=str(config), no_cache=True, no_logo=True) == 0, (
        capsys.readouterr().out
    )
