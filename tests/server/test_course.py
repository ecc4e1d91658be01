"""The course as the server gives it."""

import json
from pathlib import Path

from tests.server.served import client

OURS = (
    "The ship sailed to the bay. The crew slept in the boat. The ship and crew came home."
    " They were glad. The ship liked the bay. The crew liked the boat.\n"
)


def test_the_lessons_are_served_with_their_models_and_without_a_wait_for_the_demo(
    tmp_path: Path,
) -> None:
    text = tmp_path / "ours.txt"
    text.write_text(OURS)
    with client("miniature", folder=tmp_path / "runs", text=text) as api:
        answer = api.get("/api/course")
        assert answer.status_code == 200
        course = answer.json()
        names = [lesson["name"] for lesson in course["lessons"]]
        assert {"0", "6", "12", "miniature"} <= {*names}
        assert "13" not in names
        assert "sailed" in answer.text
        assert "The cat sat" not in json.dumps(course["lessons"][1])
        assert "glassformer demo" in course["left_out"]
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
