"""glassformer course: every lesson in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.learn import RoomFolder, Text, open_room
from glassformer.cli.streams import say
from glassformer.server.course import course_page
from glassformer.server.export import write_page


def command(
    out: Annotated[Path, typer.Option(help="The HTML file to write.", metavar="FILE")],
    text: Text = None,
    run: RoomFolder = None,
) -> None:
    """Write the whole course to one HTML file, which needs no server and no network.

    It holds the lessons, computed from the text, and the models that they look
    into; the page runs those itself. In Learn, "Teacher: hide the answers" is a
    switch, and each lesson has a link to copy for the class.
    """
    write_page(course_page(open_room(text, run)), out)
    say(f"The course is in {out} ({out.stat().st_size:,} bytes); open it in a browser.")
