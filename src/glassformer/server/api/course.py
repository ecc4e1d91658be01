"""The course."""

from __future__ import annotations

from fastapi import APIRouter

from glassformer.course.glossary import glossary
from glassformer.course.lesson import Course
from glassformer.server.api.services import Shared
from glassformer.server.responses import refusals

router = APIRouter(prefix="/api/course", responses=refusals())


@router.get("")
async def course(shared: Shared) -> Course:
    """Every lesson, on the story; its models are then served too. The first call trains one."""
    return await shared.course.lessons(shared.workers)


@router.get("/glossary")
async def terms() -> dict[str, str]:
    """Every term of the glossary, and what it means."""
    return glossary()
