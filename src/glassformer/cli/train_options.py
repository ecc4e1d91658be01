"""Options of training that are checked against each other, before anything is made."""

from __future__ import annotations

from typing import Any

from glassformer.checked import Choice
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model.parts import ADAPTABLE, Lora
from glassformer.training.loggers import opened
from glassformer.training.preference import BETA

RECIPES = ("fast", "classic")
LARGEST_BETA = 100.0


def checked_beta(dpo: bool, beta: float | None) -> float | None:
    """What a nat of gain counts, where replies are compared; else None."""
    if beta is not None and not dpo:
        raise GlassformerError("--beta says how replies are compared; add --dpo")
    if beta is not None and not 0 < beta <= LARGEST_BETA:
        raise GlassformerError(
            f"--beta {beta:g} must be above 0 and at most {LARGEST_BETA:g}; {BETA:g} is usual"
        )
    return (BETA if beta is None else beta) if dpo else None


def checked_parts(only: str | None) -> list[str] | None:
    """The parts that alone are trained; None: all."""
    parts = [part.strip() for part in (only or "").split(",") if part.strip()]
    if only is not None and not parts:
        raise GlassformerError("--only names no part; name one, such as --only unembed")
    return parts or None


def checked_adapters(rank: int | None, alpha: float | None, on: str | None) -> Lora | None:
    """The adapters that the options ask for."""
    if rank is None:
        if alpha is not None or on is not None:
            raise GlassformerError(
                "--lora-alpha and --lora-on say what adapters are like; give their rank by --lora"
            )
        return None
    names = [name.strip() for name in ("W_Q,W_V" if on is None else on).split(",") if name.strip()]
    if not names:
        raise GlassformerError("--lora-on names no matrix; name one, such as --lora-on W_Q")
    for name in names:
        if complaint := Choice(ADAPTABLE).complaint(name):
            raise GlassformerError(f"--lora-on {name!r} {complaint}")
    return Lora.from_dict(
        {"rank": rank, "alpha": 2.0 * rank if alpha is None else alpha, "on": names}
    )


def checked_recipe(recipe: str, preset: str | None, start_from: str | None, has_text: bool) -> str:
    """The preset that holds a recipe, if nothing else that was asked for contradicts it."""
    if recipe not in RECIPES:
        raise GlassformerError(
            f"--recipe {recipe!r} is none of {', '.join(RECIPES)}.{did_you_mean(recipe, RECIPES)}"
        )
    if preset is not None or start_from is not None:
        other = "--preset" if preset is not None else "--from"
        raise GlassformerError(
            f"--recipe {recipe} brings its own model, and {other} another one; leave one out"
        )
    if not has_text:
        raise GlassformerError(
            f"--recipe {recipe} reads 64 characters at a time, too few for a Storyland document;"
            " give a text file, or leave --recipe out"
        )
    return recipe


def checked_loggers(log: str | None) -> tuple[str, ...]:
    """The loggers that are named, each once; one that can't be had is refused."""
    names = (log or "").split(",")
    loggers = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in loggers:
        opened(name)
    return loggers


def without_none(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
