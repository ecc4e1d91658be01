"""`glassformer export`: a model as other programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.streams import say
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.interop.export import GGUF, export, folded, has_adapters
from glassformer.interop.match import form_for, what_no_family_has
from glassformer.interop.open import load, reads_text, without_tokenizer
from glassformer.interop.own import OWN
from glassformer.training.card import card
from glassformer.training.run import load_run

KINDS = ("hf", "gguf")
EXAMPLES = """

Examples:

  glassformer export runs/demo story

  glassformer export runs/demo story-gguf --to gguf
"""


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or a model's.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the export.")],
    to: Annotated[
        str,
        typer.Option(metavar="hf|gguf", help="For `transformers` and others, or for llama.cpp."),
    ] = "hf",
) -> None:
    if to not in KINDS:
        raise GlassformerError(
            f"--to {to!r} is none of {', '.join(KINDS)}.{did_you_mean(to, KINDS)}"
        )
    if not reads_text(run):
        raise without_tokenizer(run)
    opened = load(run)[0]
    model = folded(opened)
    past = load_run(run) if (Path(run) / "run.json").is_file() else None
    export(opened, out, card(out.resolve().name, model, past), "gguf" if to == "gguf" else "hf")
    if has_adapters(opened):
        base = opened.folder_settings.base
        say(f"The adapters are merged into the weights; {base} stays as it is.")
    form = form_for(model.config, model.folder_settings.model_type)
    if to == "gguf":
        say(
            f"{out / GGUF} holds the model, as {form.model_type}, and its tokenizer; llama.cpp"
            " reads it."
        )
    elif form is OWN:
        say(
            f"{out} holds the model, its tokenizer and a card: for Glassformer alone, as"
            f" {what_no_family_has(model.config)}."
        )
    else:
        say(
            f"{out} holds the model, as {form.model_type}, its tokenizer and a card: for"
            " `transformers`."
        )


command.__doc__ = (
    """Write a model for other programs, with its tokenizer and a card.

The model becomes one of a family that `transformers` knows, with the numbers
it has; or, with --to gguf, one file for llama.cpp. Nothing else of the run
goes along. The card is OUT/README.md: data, recipe, loss, the loss that no
model can beat where it is known, and how to cite. Adapters are merged into
the weights that they stand beside. A model that no family expresses is
refused, by the field that is in the way; with adapters it is written for
Glassformer alone.
"""
    + EXAMPLES
)
