"""glassformer lab ablate: parts switched off."""

from __future__ import annotations

from typing import Annotated

import typer

from glassformer.cli.as_json import AsJson
from glassformer.cli.lab.comparing import compare, number_pair
from glassformer.cli.lab.subject import All, Subject, Target
from glassformer.cli.lab.two_towers import compare_written, switched_off
from glassformer.cli.watching import AtStep, Prompt, Run
from glassformer.errors import GlassformerError
from glassformer.lab.edits import (
    without_expert,
    without_head,
    without_layer,
    without_neuron,
)


def command(
    run: Run,
    prompt: Prompt,
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="Switch off this head; may be repeated. Of two towers the decoder's, or"
            " encoder.LAYER.HEAD.",
            metavar="LAYER.HEAD",
        ),
    ] = None,
    neuron: Annotated[
        list[str] | None,
        typer.Option(help="Switch off this neuron; may be repeated.", metavar="LAYER.NEURON"),
    ] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(help="Switch off this expert; may be repeated.", metavar="LAYER.EXPERT"),
    ] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option(help="Switch off this whole layer; may be repeated.", metavar="LAYER"),
    ] = None,
    cross: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a model with two towers: this head of cross-attention; may be repeated.",
            metavar="LAYER.HEAD",
        ),
    ] = None,
    target: Target = None,
    everything: All = False,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Switch off heads, neurons, experts or layers: their numbers become zero. What follows?

    Of two towers the text is the source, and it says which written word is lost.

    \b
    glassformer lab ablate miniature "the cat sat on a" --head 0.0
    glassformer lab ablate miniature "the cat sat on a" --neuron 0.3 --target mat
    glassformer lab ablate runs/translation "the black cat sleeps" --cross 0.0
    """
    subject = Subject(run, at_step)
    config = subject.model.config
    if subject.has_two_towers:
        if expert:
            raise GlassformerError("a model with two towers has no experts; leave --expert out")
        edit, off, looking = switched_off(
            config, head or [], neuron or [], layer or [], cross or []
        )
        if not off:
            raise GlassformerError(
                "nothing is switched off; say what: --cross 0.1, --head 0.1 of the decoder or"
                " --head encoder.0.1, --neuron 0.37 or --layer 1"
            )
        summary = f"Switched off: {', '.join(off)}"
        return compare_written(subject, prompt, edit, summary, as_json, target, looking)
    if cross:
        raise GlassformerError("--cross is for a model with two towers; this one has --head")
    edit = {}
    off = []
    for text in head or ():
        at, number = number_pair(text, "--head", "LAYER.HEAD")
        edit |= without_head(config, at, number)
        off.append(f"layer {at} head {number}")
    for text in neuron or ():
        at, number = number_pair(text, "--neuron", "LAYER.NEURON")
        edit |= without_neuron(config, at, number)
        off.append(f"layer {at} neuron {number}")
    for text in expert or ():
        at, number = number_pair(text, "--expert", "LAYER.EXPERT")
        edit |= without_expert(config, at, number)
        off.append(f"layer {at} expert {number}")
    for at in layer or ():
        edit |= without_layer(config, at)
        off.append(f"layer {at}")
    if not off:
        raise GlassformerError(
            "nothing is switched off; say what: --head 0.2, --neuron 1.37 or --layer 1"
        )
    return compare(
        subject, prompt, edit, f"Switched off: {', '.join(off)}", target, everything, as_json
    )
