"""How a token is chosen, as options: what ask and explain have in common."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL = "How a token is chosen"

Temperature = Annotated[
    float,
    typer.Option(help="Divides the scores: 0 is greedy, above 1 is wilder.", rich_help_panel=PANEL),
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
    float,
    typer.Option(
        help="Above 1, holds back tokens that the text already has.", rich_help_panel=PANEL
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="The same seed draws the same tokens.", rich_help_panel=PANEL),
]
