"""The course as the server gives it."""

from pathlib import Path

from tests.server.served import client


def test_the_lessons_are_served_with_their_models_and_without_a_wait_for_the_demo(
    tmp_path: Path,
) -> None:
    with client("miniature", folder=tmp_path / "runs") as api:
        answer = api.get("/api/course")
        assert answer.status_code == 200
        course = answer.json()
        names = [lesson["name"] for lesson in course["lessons"]]
        assert {"0", "6", "12", "miniature"} <= {*names}
        assert "13" not in names
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
