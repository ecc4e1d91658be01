"""How a token is chosen, as options: what ask and explain have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from glassformer.cli.streams import note
from glassformer.generation.defaults import Defaults

PANEL = "How a token is chosen"

Temperature = Annotated[
    float | None,
    typer.Option(
        help="Divides the scores: 0 is greedy, above 1 is wilder.",
        show_default="what the model's folder says, else 1",
        rich_help_panel=PANEL,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(help="Draw only from the K most probable.", metavar="K", rich_help_panel=PANEL),
]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Draw only from the smallest set with this probability together.",
        rich_help_panel=PANEL,
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        help="Draw only what is at least this many times as probable as the first.",
        rich_help_panel=PANEL,
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(
        help="Above 1, holds back tokens that the text already has.",
        show_default="what the model's folder says, else 1",
        rich_help_panel=PANEL,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="The same seed draws the same tokens.", rich_help_panel=PANEL),
]

NO_DEFAULTS = Defaults({})


def print_defaults(defaults: Defaults, options: Mapping[str, object]) -> None:
    """Say what the folder's generation_config.json decides, and what of it is left out."""
    length = {"max_new_tokens": defaults.max_new_tokens, "max_length": defaults.max_length}
    length = {name: most for name, most in length.items() if most is not None}
    used = [f"{name}={value}" for name, value in defaults.settings.items() if options[name] is None]
    if options["max_new_tokens"] is None:
        used += [f"{name}={most}" for name, most in [*length.items()][:1]]
    if defaults.stop_strings and not options["stop"]:
        used.append(f"stop_strings={[*defaults.stop_strings]}")
    if used:
        note(f"as the folder's generation_config.json says: {', '.join(used)}")
    if defaults.not_done:
        note(f"generation_config.json asks for what is not done: {', '.join(defaults.not_done)}")
