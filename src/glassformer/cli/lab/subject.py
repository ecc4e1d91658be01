"""What a lab command works on: a model, its tokenizer, a prompt; and the words given to it."""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from torch import Tensor

from glassformer.cli import pasted
from glassformer.cli.watching import open_run
from glassformer.errors import GlassformerError
from glassformer.generation.prompt import check_prompt
from glassformer.lab.changes import watch_text
from glassformer.lab.edits import Edit
from glassformer.model import EncoderDecoder
from glassformer.show.sheet import Sheet
from glassformer.trace import Trace

All = Annotated[bool, typer.Option("--all", help="Show every row.")]
Target = Annotated[
    str | None,
    typer.Option(help="Also show the surprise of this next token.", metavar="WORD"),
]


class Subject:
    """A run's model that reads prompts."""

    def __init__(self, run: str, at_step: int | None = None) -> None:
        self.run, self.at_step = run, at_step
        self.model, self.tokenizer = open_run(run, at_step)

    @property
    def has_two_towers(self) -> bool:
        return isinstance(self.model, EncoderDecoder)

    @property
    def table(self) -> str:
        """The name of the embeddings of the tokens that are written."""
        names: list[str] = [view.name for view in self.model.views()]
        return [name for name in names if name.endswith("embed.W_E")][-1]

    @property
    def options(self) -> list[str]:
        """What a command about the same model has to be given as well."""
        return [] if self.at_step is None else [f"--at-step {self.at_step}"]

    def ids(self, prompt: str) -> Tensor:
        """A prompt's tokens [1, pos]."""
        ids = self.tokenizer.encode_prompt(prompt)
        check_prompt(self.model, ids)
        return torch.tensor([ids])

    def watch(self, prompt: str, edit: Edit | None = None) -> Trace:
        """One pass that ends in `probs` and in the loss; see `watch_text`."""
        text = prompt if self.has_two_towers else self.ids(prompt)
        return watch_text(self.model, text, edit)


def at_position(trace: Trace, pos: int) -> int:
    """A position of the text, counted from its start; negative ones are counted from its end."""
    n = trace.node("fwd/probs").shape[1]
    if not -n <= pos < n:
        raise GlassformerError(f"there is no position {pos}; the text's positions are 0 to {n - 1}")
    return pos % n


def print_explain(sheet: Sheet, run: str, prompt: str, address: str, *options: str) -> None:
    """The command that explains a number, ready to be pasted."""
    start, text, *others = pasted.parts("explain", [run, prompt, address], *options)
    fits = len(start) + len(text) + 5 <= sheet.width
    lines = [f"{start} {text}"] if fits else [start, text]
    for line in " \\\n  ".join([*lines, *others]).splitlines():
        sheet.line(f"  {line}")
