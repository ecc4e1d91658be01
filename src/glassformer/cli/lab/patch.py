"""glassformer lab patch: values of another prompt put into this one."""

from __future__ import annotations

from typing import Annotated

import typer

from glassformer.cli.as_json import AsJson
from glassformer.cli.lab.comparing import compare
from glassformer.cli.lab.subject import All, Subject, Target
from glassformer.cli.lab.two_towers import compare_written
from glassformer.cli.watching import AtStep, Prompt, Run
from glassformer.lab.edits import patched


def command(
    run: Run,
    prompt: Prompt,
    addresses: Annotated[
        list[str],
        typer.Argument(help="What is taken from the other prompt.", metavar="ADDRESS..."),
    ],
    source: Annotated[str, typer.Option("--from", help="The other prompt.", metavar="PROMPT")],
    target: Target = None,
    everything: All = False,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Put values of another prompt into this one. What follows?

    \b
    glassformer lab patch miniature "the cat sat on a" --from "the mat sat on a" \\
      'blocks.0.resid_post\\[pos=4]'
    """
    subject = Subject(run, at_step)
    edit = patched(addresses, subject.watch(source))
    summary = f"Patched from {source!r}:"
    if subject.has_two_towers:
        return compare_written(subject, prompt, edit, summary, as_json, target)
    return compare(subject, prompt, edit, summary, target, everything, as_json)
