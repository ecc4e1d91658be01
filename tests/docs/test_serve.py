"""The page about the API: every example on it is run, on a model of the demo's name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from tests.server.clients import make_model
from tests.server.served import listening

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "serve.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(bash|python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TASK = """
task: TASK
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "the cat"
doc_to_choice: [" sat", " mat"]
doc_to_target: 0
"""


def example(heading: str) -> tuple[str, str]:
    """Language and text of the first block under a heading."""
    result = BLOCK.search(PAGE.split(f"\n## {heading}\n")[1])
    assert result is not None
    return result[1], result[2]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    make_model(folder, n_ctx=72)
    with listening(create_app(Runs([str(folder)]))) as (port, _):
        yield f"127.0.0.1:{port}"


def run(command: list[str], **more: str) -> str:
    ended = subprocess.run(
        command, capture_output=True, encoding="utf-8", env={**os.environ, **more}
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_curl_gets_tokens_with_their_addresses(address):
    language, text = example("curl")
    assert language == "bash"
    answer = run(["bash", "-c", text.replace("127.0.0.1:8000", address)])
    assert '"address":"@token=7 choose/token"' in answer
    assert f'"link":"http://{address}/#/story?at=choose' in answer


def test_the_openai_client_prints_a_text_and_its_log_probabilities(address):
    language, text = example("Python")
    assert language == "python"
    printed = run([sys.executable, "-c", text.replace("127.0.0.1:8000", address)])
    assert re.search(r"\[-\d+\.\d+, ", printed)


def test_a_chat_window_finds_the_models_with_these_settings(address):
    settings = dict(line.split("=", 1) for line in example("Open WebUI")[1].split())
    url = settings["OPENAI_API_BASE_URL"].replace("127.0.0.1:8000", address)
    key = {"authorization": f"Bearer {settings['OPENAI_API_KEY']}"}
    assert httpx.get(f"{url}/models", headers=key).json()["data"][0]["id"] == "demo"


@pytest.mark.heavy  # lm-eval takes half a minute to start
def test_lm_eval_scores_a_task_of_ones_own(address, tmp_path):
    (tmp_path / "test.json").write_text('{"text": "the cat sat"}\n' * 4)
    (tmp_path / "task.yaml").write_text(TASK.replace("FILE", str(tmp_path / "test.json")))
    text = example("lm-eval")[1].replace("127.0.0.1:8000", address)
    printed = run(
        ["bash", "-c", f"{text.rstrip()} --include_path {tmp_path}"],
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        HF_DATASETS_CACHE=str(tmp_path / "cache"),
        HF_HUB_OFFLINE="1",
    )
    assert "|TASK" in printed


def test_the_server_of_the_page_refuses_to_be_seen_without_a_token():
    command = BLOCK.findall(PAGE)[-1][1].split()
    assert command[:3] == ["glassformer", "serve", "runs/demo"]
    assert {"--host", "--token"} <= set(command)
