"""Questions about a run that need no trace: its tokens, one number's biography, near embeddings."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter

from glassformer.server import answers, schemas
from glassformer.server.api.services import Shared
from glassformer.server.responses import refusals

router = APIRouter(prefix="/api", responses=refusals())


@router.post("/tokenize")
async def tokenize(request: schemas.TokenizeRequest, shared: Shared) -> schemas.TokenizedText:
    """How a text becomes tokens: split, merge by merge, look up."""
    return await shared.workers.run(
        lambda: answers.tokenized(shared.runs.train_state(request.run).tokenizer, request.text)
    )


@router.post("/biography")
async def biography(request: schemas.BiographyRequest, shared: Shared) -> schemas.Biography:
    """One number through training, and the update that moved it most."""
    work = partial(answers.biography, shared.runs, request)
    return await shared.workers.run_until_cancelled(work)


@router.post("/neighbors")
async def neighbors(request: schemas.NeighborsRequest, shared: Shared) -> schemas.Neighbors:
    """The tokens whose embeddings point most nearly the same way."""
    return await shared.workers.run(partial(answers.neighbors, shared.runs, request))
