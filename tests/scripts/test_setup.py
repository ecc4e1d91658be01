"""The set-up does what is missing and nothing else."""

import json
from pathlib import Path

import pytest

from scripts import setup

WITHOUT_TORCH = "numpy==2.4.6\n"
PINS = WITHOUT_TORCH + "torch==2.13.0\ntornado==6.6.1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text(PINS)
    return tmp_path


def stamp_of(project: Path, extras: list[str]) -> dict[str, object]:
    return {"fingerprint": setup.fingerprint(project), "extras": extras}


def test_a_bare_machine_gets_what_was_asked_for(project: Path):
    assert setup.missing_extras(None, setup.fingerprint(project), []) == []
    assert setup.missing_extras(None, setup.fingerprint(project), ["dev"]) == ["dev"]


def test_nothing_is_missing_the_second_time(project: Path):
    stamp = stamp_of(project, ["dev"])
    assert setup.missing_extras(stamp, setup.fingerprint(project), ["dev"]) is None


def test_a_developers_environment_serves_the_demo_but_not_the_other_way_round(project: Path):
    wanted = setup.fingerprint(project)
    assert setup.missing_extras(stamp_of(project, ["dev"]), wanted, []) is None
    assert setup.missing_extras(stamp_of(project, []), wanted, ["dev"]) == ["dev"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_or_pins_are_installed_and_earlier_extras_stay(project: Path, name):
    stamp = stamp_of(project, ["dev"])
    (project / name).write_text("changed\n")
    assert setup.missing_extras(stamp, setup.fingerprint(project), []) == ["dev"]


def test_a_complete_environment_is_left_alone(project: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing should be run")

    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (project / ".venv" / "glassformer-setup.json").write_text(
        json.dumps(stamp_of(project.resolve(), ["dev"]))
    )
    monkeypatch.setattr(setup.subprocess, "run", refuse)
    setup.set_up(project.resolve(), ["dev"])


def test_a_broken_stamp_means_a_new_set_up(tmp_path: Path):
    (tmp_path / "stamp").write_text("{")
    assert setup.read_stamp(tmp_path / "stamp") is None
    assert setup.read_stamp(tmp_path / "absent") is None


def test_torch_comes_from_this_machine_first_and_without_cuda_where_there_is_no_gpu():
    attempts = setup.torch_attempts(PINS, "Linux", has_gpu=False)
    assert attempts[0] == ["--no-index", "--no-deps", "torch==2.13.0"]
    assert setup.TORCH_CPU_INDEX in attempts[1]
    assert attempts[2] == ["torch==2.13.0"]


@pytest.mark.parametrize(("system", "has_gpu"), [("Linux", True), ("Darwin", False)])
def test_pytorchs_cpu_index_is_for_linux_without_a_gpu(system: str, has_gpu: bool):
    attempts = setup.torch_attempts(PINS, system, has_gpu)
    assert attempts == [["--no-index", "--no-deps", "torch==2.13.0"], ["torch==2.13.0"]]
