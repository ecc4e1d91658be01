"""The course as the server gives it."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glassformer.course.course import names
from glassformer.course.lesson import Course
from glassformer.server.course import ServedCourse
from glassformer.server.runs import Runs
from glassformer.server.work import Workers
from tests.server.served import client

OURS = (
    "The ship sailed to the bay. The crew slept in the boat. The ship and crew came home."
    " They were glad. The ship liked the bay. The crew liked the boat.\n"
)


SERVED = ("0", "1", "3")
"""Lessons that take no time; that each is made of any text is tested with them."""


def test_the_lessons_are_served_with_their_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: names()[name] for name in SERVED}
    monkeypatch.setattr("glassformer.course.course.names", lambda: few)
    text = tmp_path / "ours.txt"
    text.write_text(OURS)
    with client("miniature", folder=tmp_path / "runs", text=text) as api:
        answer = api.get("/api/course")
        assert answer.status_code == 200
        course = answer.json()
        assert [lesson["name"] for lesson in course["lessons"]] == [*SERVED]
        assert "sailed" in answer.text
        assert "The cat sat" not in json.dumps(course["lessons"][1])
        served = {run["id"] for run in api.get("/api/runs").json()["runs"]}
        assert {*course["runs"].values()} <= served
        look = next(
            part
            for lesson in course["lessons"]
            for stage in lesson["stages"]
            for part in stage["parts"]
            if part["kind"] == "look"
        )
        body = {"run": course["runs"][look["model"]], "prompt": look["prompt"]}
        assert api.post("/api/traces", json=body).status_code == 200


def test_many_who_ask_for_the_course_leave_a_worker_for_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    made = Course(text="", prompt="", lessons=[], runs={}, folder="", file="")

    def slow(*_: object) -> Course:
        assert go_on.wait(60)
        return made

    monkeypatch.setattr("glassformer.server.course.course", slow)
    monkeypatch.setattr("glassformer.server.course.serve_models", lambda runs, room: {})
    served, workers = ServedCourse(Runs([]), tmp_path / "course", None), Workers(threads=2)

    async def a_class() -> None:
        asking = [asyncio.create_task(served.lessons(workers)) for _ in range(30)]
        try:
            await asyncio.sleep(0)
            asking.pop().cancel()  # one who leaves takes the lessons from nobody
            assert await asyncio.wait_for(workers.run(lambda: "a trace"), 30) == "a trace"
        finally:
            go_on.set()
        assert {*map(id, await asyncio.gather(*asking))} == {id(made)}

    with ThreadPoolExecutor(1) as thread:  # on this one Playwright's loop may be running
        thread.submit(asyncio.run, a_class()).result()
    workers.close()
