"""The runs that are served, and how their training went."""

from __future__ import annotations

from fastapi import APIRouter

from glassformer.server import answers, schemas
from glassformer.server.api.services import Shared
from glassformer.server.responses import refusals

router = APIRouter(prefix="/api/runs", responses=refusals())


@router.get("")
def list_runs(shared: Shared) -> schemas.RunList:
    """Every run that is served."""
    return schemas.RunList(runs=shared.runs.summaries())


@router.get("/{run}")
async def run_info(run: str, shared: Shared) -> schemas.RunInfo:
    """One run: its configuration, its weights' shapes, its snapshots."""
    runs = shared.runs
    is_open = await shared.readers.run(lambda: runs.is_open(run))
    pool = shared.readers if is_open else shared.workers  # opening a large one takes long
    return await pool.run(lambda: runs[run].info(runs.train_state(run).tokenizer))


@router.get("/{run}/metrics")
def metrics(run: str, shared: Shared) -> schemas.Metrics:
    """The loss of every step, and the floor that no model can beat, where it is known."""
    return shared.runs[run].metrics()


@router.get("/{run}/model")
async def model(run: str, shared: Shared) -> schemas.PackedModel | None:
    """The model as a page runs it by itself; null where the server has to.

    That is a model too large for a browser, one whose tokenizer the page does not know, and one
    whose training goes on.
    """
    return await shared.workers.run(lambda: answers.model_for_page(shared.runs, run))
