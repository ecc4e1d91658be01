"""glassformer lab edit: any value or weight set to another number."""

from __future__ import annotations

from typing import Annotated

import typer

from glassformer.cli.as_json import AsJson
from glassformer.cli.lab.comparing import compare
from glassformer.cli.lab.subject import All, Subject, Target
from glassformer.cli.lab.two_towers import compare_written
from glassformer.cli.watching import AtStep, Prompt, Run
from glassformer.lab.edits import Edit, written


def command(
    run: Run,
    prompt: Prompt,
    edits: Annotated[
        list[str],
        typer.Argument(
            help="ADDRESS=VALUE: a value, a slice of one, or a weight.", metavar="EDIT..."
        ),
    ],
    target: Target = None,
    everything: All = False,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Set values or weights to other numbers. What follows?

    \b
    glassformer lab edit miniature "the cat sat on a" \\
      'blocks.0.attn.pattern\\[query=4,key=1]=0'
    glassformer lab edit miniature "the cat sat on a" \\
      'weight/unembed.b_U\\[vocab=4]=1'
    """
    edit: Edit = dict(written(text) for text in edits)
    subject = Subject(run, at_step)
    if subject.has_two_towers:
        return compare_written(subject, prompt, edit, "Edited:", as_json, target)
    return compare(subject, prompt, edit, "Edited:", target, everything, as_json)
