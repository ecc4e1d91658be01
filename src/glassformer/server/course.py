"""The course on the page: served with its models, or as one file that holds them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from glassformer.course.classroom import Classroom, folder_of
from glassformer.course.course import course
from glassformer.course.lesson import Course, Model
from glassformer.server import schemas
from glassformer.server.export import made, packed_metrics, past_snapshots
from glassformer.server.runnable import packed_model
from glassformer.server.runs import Runs
from glassformer.server.seedling import seedling
from glassformer.server.work import Workers

SNAPSHOT_BYTES = 200_000
"""Of the course's run in its file."""


class ServedCourse:
    """The course on a text, made when it is first asked for; its runs are served from then.

    text: None is the story. home: where the story's model is kept; that of a text is beside it.
    """

    def __init__(self, runs: Runs, home: Path, text: Path | None) -> None:
        self._runs, self._text, self._folder = runs, text, folder_of(text, home)
        self._lock = threading.Lock()
        self._course: Course | None = None
        self._making: asyncio.Task[Course] | None = None

    async def lessons(self, workers: Workers) -> Course:
        """All who ask while it is made wait for one worker: the others are for the page."""
        if self._course is not None:
            return self._course
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(workers.run(self._made))
        return await asyncio.shield(self._making)

    def _made(self) -> Course:
        with self._lock:
            if self._course is None:
                room = Classroom(self._text, self._folder)
                self._course = course(room, serve_models(self._runs, room))
            return self._course


def serve_models(runs: Runs, room: Classroom) -> dict[Model, str]:
    """Serve every model that lessons look into; under which id each of them is."""
    where: dict[Model, str] = {
        "course": str(room.run),
        "miniature": "miniature",
        "worked_example": "worked_example",
    }
    return {model: runs.add(name).id for model, name in where.items()}


def course_page(room: Classroom) -> schemas.PageData:
    """What the course's file holds: the lessons, and the models, which the page runs."""
    runs = Runs([])
    ids = serve_models(runs, room)
    states = {run: runs.train_state(run) for run in ids.values()}
    models = {run: packed_model(state) for run, state in states.items()}
    learned = models[ids["course"]]
    if learned is not None:
        past = past_snapshots(
            runs, runs[ids["course"]], states[ids["course"]], room.prompt, None, SNAPSHOT_BYTES
        )
        models[ids["course"]] = learned.model_copy(update={"snapshots": past})
    infos = [runs[run].info(state.tokenizer) for run, state in states.items()]
    opening = schemas.Opening(run=ids["course"], prompt=room.prompt, target=None, at_step=None)
    return schemas.PageData(
        runs=[info.model_copy(update={"path": info.path and runs[info.id].name}) for info in infos],
        models={run: model for run, model in models.items() if model is not None},
        seedling=seedling(),
        first=opening,
        metrics={run: packed_metrics(runs[run].metrics()) for run in states},
        course=course(room, ids),
        made=made(),
    )
