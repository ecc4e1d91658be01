"""A data set is fetched from a hub by its name, once; the hub stands on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glassformer.training.run import load_run
from tests.text.hub import hub_of

SENTENCE = "the cat sat on the mat and the dog sat on the log"
LINES = "".join(json.dumps({"text": f"{SENTENCE} {i}"}) + "\n" for i in range(200)).encode()
FILES = {"README.md": b"# Tales\n", "tales.jsonl": LINES}
SIZES = ["--tokenizer", "chars", "--n-ctx", "8", "--d-model", "8", "--n-layers", "1", "--steps"]


def trained(text: str, run: Path, hub: str) -> subprocess.CompletedProcess[str]:
    """`glassformer train`, as typed: the libraries read a hub's address as they load."""
    command = [sys.executable, "-m", "glassformer", "train", text, "--out", str(run), *SIZES, "2"]
    variables = {"HF_ENDPOINT": hub, "HF_HOME": str(run.parent / "home"), "OMP_NUM_THREADS": "1"}
    env = {**os.environ, **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.heavy
def test_a_data_set_is_fetched_by_its_name_once_and_then_read_without_the_hub(tmp_path):
    with hub_of("someone/tales", FILES) as hub:
        done = trained("hf:someone/tales", tmp_path / "fetched", hub)
        assert done.returncode == 0, done.stderr
        wrong = trained("hf:someone/tails", tmp_path / "wrong", hub)
    assert wrong.returncode == 2
    (line,) = wrong.stderr.splitlines()
    assert line.startswith("error: the data set 'someone/tails' is not in the local cache, and it")
    assert not (tmp_path / "wrong").exists()
    done = trained("someone/tales", tmp_path / "cached", hub)  # the hub is gone
    assert done.returncode == 0, done.stderr
    first, second = (load_run(tmp_path / name) for name in ("fetched", "cached"))
    assert [*first.of("loss")] == [1, 2]
    assert first.of("loss") == second.of("loss")
