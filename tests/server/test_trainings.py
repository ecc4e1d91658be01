"""A run is trained from the page, watched, stopped and gone on with."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from glassformer.course.classroom import STORY
from glassformer.server.connections import GRACE_SECONDS
from glassformer.server.schemas import TEXT_CHARACTERS
from glassformer.server.trainings import LEAVE_SECONDS, POLL_SECONDS, STOP_SECONDS
from glassformer.training.choices import Choices
from glassformer.training.prepare import new_run
from glassformer.training.run import read_description, read_metrics
from tests.server.served import client, error

TEXT = "the cat sat on the mat. a red dog ran to the house. " * 40


@contextlib.contextmanager
def server(tmp_path) -> Iterator[TestClient]:
    """A server whose end stops what it trains."""
    with client(folder=tmp_path / "runs") as served:
        yield served


def events(served: TestClient, training: str) -> list[tuple[str, dict[str, Any]]]:
    """Everything that a training tells, to its end."""
    answer = served.get(f"/api/trainings/{training}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    result = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines()]
        fields = {name: value for name, _, value in lines}
        if "data" in fields:
            data = json.loads(fields["data"])
            result.append((data.pop("kind"), data))
    return result


def until_step(tmp_path, name: str, step: int) -> None:
    """Wait until a training has come so far."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = read_metrics(tmp_path / "runs" / name / "metrics.jsonl")
        if any(row["step"] >= step for row in rows):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} did not come to step {step}")


@pytest.mark.heavy
def test_a_training_is_followed_to_its_end_and_joins_the_runs(tmp_path):
    with server(tmp_path) as served:
        request = {"text": TEXT, "name": "My <b>text</b>", "steps": 10}
        begun = served.post("/api/trainings", json=request).json()
        received = events(served, begun["id"])
        progress = [data for event, data in received if event == "progress"]
        rows = read_metrics(tmp_path / "runs" / "my-b-text-b" / "metrics.jsonl")
        losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
        assert {p["step"]: p["loss"] for p in progress if p["step"]} == losses
        assert {p["steps"] for p in progress} == {10}
        assert progress[-1]["held_out"] is None  # the text is too short to hold some of it out
        measured = [(p["step"], p["whole_text"]) for p in progress if p["measured"]]
        assert measured == [(row["step"], row["text_loss"]) for row in rows if "text_loss" in row]
        samples = [data["text"] for event, data in received if event == "sample"]
        assert samples == [row["sample"] for row in rows if "sample" in row]
        assert len(samples) == 10
        assert received[-1] == ("done", {"run": begun["run"], "reason": "finished"})
        summary = served.get("/api/runs").json()["runs"][-1]
        assert (summary["name"], summary["steps_done"]) == ("My <b>text</b>", 10)
        trace = {"run": begun["run"], "prompt": "the cat", "at_step": 4}
        assert served.post("/api/traces", json=trace).status_code == 200


@pytest.mark.heavy
@pytest.mark.parametrize(
    "text",
    [STORY, TEXT * 3, "小猫坐在垫子上。小狗在公园里跑。小鸟在树上唱歌。", "buffalo " * 200],
    ids=["six sentences", "pieces of words", "letters", "one word"],
)
def test_the_page_chooses_for_a_pasted_text_what_the_command_chooses(tmp_path, text):
    with server(tmp_path) as served:
        begun = served.post("/api/trainings", json={"text": text, "name": "page"}).json()
        until_step(tmp_path, "page", 0)
        served.post(f"/api/trainings/{begun['id']}/stop")
    file = tmp_path / "text.txt"
    file.write_text(text)
    prepared = new_run(tmp_path / "typed", Choices(texts=(str(file),)))
    prepared.run.close()
    page, typed = (
        read_description(folder) for folder in (tmp_path / "runs/page", tmp_path / "typed")
    )
    assert page.model == typed.model
    assert page.tokenizer == typed.tokenizer
    # the page asks more often how far it is, which changes no weight
    followed = {"eval_every": 0, "sample_every": 0}
    assert page.recipe.replace(**followed) == typed.recipe.replace(**followed)
    assert {**page.corpus, "texts": []} == {**typed.corpus, "texts": []}
    said = next(note for note in prepared.notes if note.startswith("for a text of"))
    assert begun["chosen"] == said.partition(": ")[2]


@pytest.mark.heavy
def test_a_training_stops_when_asked_and_goes_on_where_it_was(tmp_path):
    with server(tmp_path) as served:
        request = {"text": TEXT, "name": "long", "steps": 40}
        begun = served.post("/api/trainings", json=request).json()
        until_step(tmp_path, "long", 3)
        again = served.post("/api/trainings", json=request)
        assert "stop it or wait" in error(again, 409, "conflict")
        busy = served.post(f"/api/trainings/{begun['id']}/resume")
        error(busy, 409, "conflict")
        # its snapshots can be looked at meanwhile
        trace = {"run": begun["run"], "prompt": "the cat", "at_step": 2, "backward": False}
        assert served.post("/api/traces", json=trace).status_code == 200
        assert served.post(f"/api/trainings/{begun['id']}/stop").json() == begun
        received = events(served, begun["id"])
        assert received[-1] == ("done", {"run": begun["run"], "reason": "stopped"})
        stopped = max(data["step"] for event, data in received if event == "progress")
        assert 3 <= stopped < 40
        assert served.post(f"/api/trainings/{begun['id']}/resume").json() == begun
        received = events(served, begun["id"])
        assert received[-1][1]["reason"] == "finished"
        steps = [data["step"] for event, data in received if event == "progress"]
        assert steps == sorted(steps)
        assert set(steps) == set(range(41))


@pytest.mark.heavy
def test_what_ends_a_training_is_told(tmp_path):
    with server(tmp_path) as served:
        begun = served.post("/api/trainings", json={"text": "a\0" * 100}).json()
        event, data = events(served, begun["id"])[-1]
        assert event == "failed"
        assert "\n" not in data["message"]
        log = (tmp_path / "runs" / "pasted.log").read_text()
        assert log.strip().endswith(data["message"])
        assert [run["id"] for run in served.get("/api/runs").json()["runs"]] == ["miniature"]
        again = served.post("/api/trainings", json={"text": "a\0" * 100}).json()
        assert again == begun  # its name is free
        assert events(served, again["id"])[-1][0] == "failed"


@pytest.mark.heavy
def test_without_a_text_storyland_is_learned_beside_its_floor(tmp_path):
    with server(tmp_path) as served:
        begun = served.post("/api/trainings", json={"steps": 4, "name": "Tales"}).json()
        received = events(served, begun["id"])
        assert received[-1][1]["reason"] == "finished"
        last = [data for event, data in received if event == "progress"][-1]
        assert 0.3 < last["floor"] < last["held_out"]
        second = served.post("/api/trainings", json={"steps": 4, "name": "Tales"}).json()
        assert events(served, second["id"])[-1][1]["reason"] == "finished"
        names = [run["name"] for run in served.get("/api/runs").json()["runs"]]
        assert names == ["miniature", "Tales", "Tales 2"]


@pytest.mark.heavy
@pytest.mark.parametrize("preset", ["fast", "classic"])
def test_a_recipe_for_letters_can_be_taken(tmp_path, preset: str):
    with server(tmp_path) as served:
        begun = served.post(
            "/api/trainings", json={"text": TEXT, "steps": 3, "preset": preset}
        ).json()
        assert events(served, begun["id"])[-1][1]["reason"] == "finished"
        info = served.get(f"/api/runs/{begun['run']}").json()
        assert info["tokenizer"]["kind"] == "chars"
        assert info["recipe"]["optimizer"] == ("muon" if preset == "fast" else "adamw")


@pytest.mark.heavy
def test_a_server_that_ends_lets_its_training_save(tmp_path):
    with server(tmp_path) as served:
        served.post("/api/trainings", json={"text": TEXT, "steps": 5000})
        until_step(tmp_path, "pasted", 2)
    rows = read_metrics(tmp_path / "runs" / "pasted" / "metrics.jsonl")
    saved = max(row["step"] for row in rows if "checkpoint_seconds" in row)
    assert saved == max(row["step"] for row in rows)


SOON = 0.5


def stubborn(monkeypatch) -> None:
    """A training that takes no notice of being asked to stop, and a server of little patience."""
    script = 'trap "" INT TERM; echo begun; exec sleep 600'
    monkeypatch.setattr("glassformer.server.trainings.TRAIN", ["sh", "-c", script])
    monkeypatch.setattr("glassformer.server.trainings.STOP_SECONDS", SOON)
    monkeypatch.setattr("glassformer.server.trainings.LEAVE_SECONDS", SOON)


def until_begun(tmp_path) -> None:
    deadline = time.monotonic() + 60
    while (tmp_path / "runs" / "pasted.log").read_text() != "begun\n":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_training_that_takes_no_notice_of_a_stop_is_killed_within_5_seconds(
    tmp_path, monkeypatch
):
    stubborn(monkeypatch)  # as one that learns to split one long word
    with server(tmp_path) as served:
        training = served.post("/api/trainings", json={"text": TEXT}).json()["id"]
        until_begun(tmp_path)
        began = time.monotonic()
        served.post(f"/api/trainings/{training}/stop")
        message = "stopped before its first step: there is nothing to save"
        assert events(served, training) == [("failed", {"message": message})]
        assert SOON < time.monotonic() - began < 60
    assert STOP_SECONDS + POLL_SECONDS < 5


def test_a_server_ends_soon_whatever_it_trains(tmp_path, monkeypatch):
    """It leaves 3 seconds to save, and ends within 5."""
    stubborn(monkeypatch)
    with server(tmp_path) as served:
        served.post("/api/trainings", json={"text": TEXT})
        until_begun(tmp_path)
        began = time.monotonic()
    assert SOON < time.monotonic() - began < 60
    assert 3 < LEAVE_SECONDS < LEAVE_SECONDS + GRACE_SECONDS < 5


CHILD = """
import runpy, sys, time
from glassformer.cli import child
child.POLL_SECONDS, child.PATIENCE_SECONDS = 0.1, 0.5
def train(*_, **__):
    print("begun", flush=True)
    time.sleep(60)
runpy.run_module = train
child.main()
"""


def child(out: Path) -> subprocess.Popen[bytes]:
    """A training as the server starts it, which does nothing for a minute."""
    command = [sys.executable, "-c", CHILD, "train", "--out", str(out)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def test_a_training_whose_server_was_killed_says_so_and_ends(tmp_path):
    process = child(tmp_path / "run")
    _, received = process.communicate()  # closes its standard input, as the end of the server does
    assert process.returncode == -signal.SIGTERM
    assert received.decode().strip() == "what started this training has gone"


def test_a_training_whose_folder_was_deleted_says_so_and_ends(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text("{}")
    process = child(out)
    with process:
        time.sleep(0.5)
        shutil.rmtree(out)
        assert process.wait(20) == -signal.SIGKILL
        assert process.stderr is not None
        assert b"the run's folder was moved or deleted" in process.stderr.read()


@pytest.mark.heavy
def test_a_run_whose_server_was_killed_is_saved_and_can_go_on(tmp_path):
    command = [sys.executable, "-m", "glassformer", "serve", "--no-open", "--port", "0"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        request = {"text": TEXT, "steps": 5000}
        httpx.post(f"{url}api/trainings", json=request, timeout=30).raise_for_status()
        until_step(tmp_path, "pasted", 2)
        server.kill()
    log = tmp_path / "runs" / "pasted.log"
    deadline = time.monotonic() + 60
    while "go on with:" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "what started this training has gone" in log.read_text()


@pytest.mark.parametrize(
    "request_body",
    [{"text": ""}, {"text": "so short" + " " * 200}, {"preset": "fast"}],
)
def test_a_text_that_is_too_short_is_not_learned(tmp_path, request_body):
    with server(tmp_path) as served:
        error(served.post("/api/trainings", json=request_body), 422, "invalid")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        ({"text": "a" * (TEXT_CHARACTERS + 1)}, "text"),
        ({"text": TEXT, "steps": 5001}, "steps"),
        ({"text": TEXT, "steps": 0}, "steps"),
        ({"text": TEXT, "steps": True}, "steps"),
        ({"text": TEXT, "preset": "gpt2"}, "preset"),
        ({"text": TEXT, "out": "/somewhere"}, "out"),
    ],
)
def test_a_field_beyond_its_limits_is_named_and_nothing_is_begun(tmp_path, request_body, field):
    with server(tmp_path) as served:
        message = error(served.post("/api/trainings", json=request_body), 400, "bad_request")
    assert message.startswith(f"body.{field}: ")
    assert not (tmp_path / "runs").exists()


def test_a_training_that_was_never_started_is_unknown(tmp_path):
    with server(tmp_path) as served:
        for answer in (
            served.get("/api/trainings/none/events"),
            served.post("/api/trainings/none/stop"),
            served.post("/api/trainings/none/resume"),
        ):
            error(answer, 404, "unknown_training")
