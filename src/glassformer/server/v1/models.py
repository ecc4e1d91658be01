"""Which models there are, how busy they are, and what was done."""

from __future__ import annotations

import torch
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from glassformer.generation.room import room_for
from glassformer.model import TowersConfig
from glassformer.server.runs import Source
from glassformer.server.v1 import schemas
from glassformer.server.v1.responses import refusals
from glassformer.server.v1.services import ClientAnswers

WIDEST = torch.float32.itemsize
"""Bytes that a number of a cache takes, unless its model is held in fewer."""

router = APIRouter(responses=refusals())


@router.get("/v1/models")
async def models(answers: ClientAnswers) -> schemas.Models:
    """Every model that is served."""
    return schemas.Models(data=[_model(source) for source in answers.engines.sources])


@router.get("/v1/models/{model:path}")
async def model(model: str, answers: ClientAnswers) -> schemas.Model:
    """One of them."""
    return _model(answers.engines.source(model))


@router.get("/health")
async def health(answers: ClientAnswers) -> schemas.Health:
    """Whether the server answers, and how much it has to do."""
    engines = answers.engines.engines
    return schemas.Health(
        running=sum(engine.running for engine in engines),
        waiting=sum(engine.waiting for engine in engines),
    )


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(answers: ClientAnswers) -> PlainTextResponse:
    """Counts and times in Prometheus' text format; no prompt and no token is in them."""
    engines = answers.engines.engines
    running = sum(engine.running for engine in engines)
    waiting = sum(engine.waiting for engine in engines)
    text = answers.metrics.text(running, waiting)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _model(source: Source) -> schemas.Model:
    folder, config = source.folder, source.config
    created = int(folder.stat().st_mtime) if folder is not None else 0
    most = config.n_ctx if isinstance(config, TowersConfig) else room_for(config, WIDEST)[1]
    return schemas.Model(id=source.id, created=created, owned_by="glassformer", max_model_len=most)
