"""Small trainings, started from the page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse

from glassformer.server import schemas
from glassformer.server.api.services import NamedTraining, Shared
from glassformer.server.responses import refusals

router = APIRouter(prefix="/api/trainings")


@router.post("", responses=refusals(409))
def start(request: schemas.TrainingRequest, shared: Shared) -> schemas.Training:
    """Train a small run from a text, in a process of its own; one at a time."""
    return shared.trainings.start(request).named


@router.get(
    "/{training}/events", response_class=EventSourceResponse, responses=refusals(json=False)
)
async def events(training: NamedTraining) -> AsyncIterator[schemas.TrainingEvent]:
    """What happens, from the start: progress and samples; done or failed at the end."""
    async for event in training.events():
        yield event


@router.post("/{training}/stop", responses=refusals())
def stop(training: NamedTraining) -> schemas.Training:
    """Ask a training to save and end; its events say when it has."""
    training.stop()
    return training.named


@router.post("/{training}/resume", responses=refusals(409))
def resume(training: str, shared: Shared) -> schemas.Training:
    """Go on with a training that was stopped, from where it saved."""
    return shared.trainings.resume(training).named
