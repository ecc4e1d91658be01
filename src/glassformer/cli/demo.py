"""`glassformer demo`: a GPT learns, answers, and is looked into, within three minutes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from glassformer.cli import pasted
from glassformer.cli.answer import Answers
from glassformer.cli.console import SafeConsole
from glassformer.cli.stopping import exiting
from glassformer.cli.training import print_outcome, train_showing
from glassformer.formula.spelling import difference
from glassformer.generation.sampling import Sampling
from glassformer.show.explanation import print_arithmetic, short_address
from glassformer.show.plots.all import draw_all
from glassformer.show.sheet import Sheet
from glassformer.show.tour import print_tour
from glassformer.training.choices import Choices
from glassformer.training.prepare import new_run, resumed_run
from glassformer.training.run import read_metrics
from glassformer.training.storyland import StorylandScore, measure

LEARNED = "the easiest trick to teach a dog is"
PROMPTS = (
    (LEARNED, "it has read the answer in training, again and again"),
    ("zib means moon. tol means sun. zib means", "invented words: the answer is in the prompt"),
    ("plum is blue. apple is green. fig is pink. apple is", "so is this one"),
)
MEASURED = 300  # fresh documents


def command(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Where to put the run.")] = Path(
        "runs/demo"
    ),
    device: Annotated[str, typer.Option(metavar="auto|cuda|mps|cpu")] = "auto",
) -> None:
    """Train a small model on the built-in corpus and look inside it.

    A demo that was interrupted goes on where it was; one that is finished is shown again.
    """
    console = SafeConsole()
    chapter(console, 1, "A GPT learns to read Storyland")
    if (out / "run.json").exists():
        prepared = resumed_run(out, device)
    else:
        prepared = new_run(out, Choices(preset="storyland", device=device))
    with prepared.run as run:
        outcome, stopped_by = train_showing(prepared, console)
        if stopped_by is not None:
            with exiting(stopped_by):
                print_outcome(outcome, prepared, [], console)
        model, tokenizer = prepared.model.cpu().eval(), run.tokenizer
    score = measure(model, tokenizer, MEASURED)
    print_score(score, console)

    chapter(console, 2, "It completes what it is given")
    greedy = Answers(model, tokenizer, Sampling(temperature=0), max_tokens=12, stop=["."])
    for prompt, why in PROMPTS:
        console.print(f"  ({why})", style="dim")
        greedy.complete(prompt)

    chapter(console, 3, f"The stages of one answer: {LEARNED!r}")
    ids = tokenizer.encode_prompt(LEARNED)
    trace = model.watch(torch.tensor([ids]))
    print_tour(trace, Sheet())
    console.print("\nEvery number of every stage:")
    console.print(f"  {' '.join(pasted.parts('trace', [out, LEARNED]))}")

    chapter(console, 4, "How one number was made")
    probable = int(trace.value_of(trace.node("probs"))[0, -1].argmax())
    result = trace.explain(f"fwd/probs[pos={len(ids) - 1},vocab={probable}]")
    print_arithmetic(result, Sheet())
    console.print("\nIts operands, and theirs, down to the weights:")
    words = [out, LEARNED, short_address(trace, result.address)]
    verb, *others = pasted.parts("explain", words, "--follow 3")
    console.print(f"  {verb} \\\n    {' '.join(others)}")

    chapter(console, 5, "Pictures")
    for file in draw_all(trace, out / "pictures", read_metrics(out / "metrics.jsonl")):
        console.print(f"  {file}")

    chapter(console, 6, "Your turn")
    print_score(score, console)
    console.print(f"The model, its metrics and its checkpoints are in {out}.")
    if shutil.which("glassformer") is None:
        console.print("Let the shell find the command first: source .venv/bin/activate")
    for command_line, what in (
        (*pasted.parts("serve", [out]), "every number, in a browser"),
        (*pasted.parts("ask", [out]), "your own prompts"),
        (" ".join(pasted.parts("export", [out, f"{out.name}-export"])), "for other programs"),
        ("glassformer train YOUR_TEXT.txt --out runs/mine", "your own text"),
    ):
        console.print(f"  {command_line:<48} # {what}")


def print_score(score: StorylandScore, console: Console) -> None:
    """The two questions of Storyland: is it at the floor, and does it learn in context?"""
    above = difference(score.loss, score.floor, 3)
    console.print(
        f"on {MEASURED} fresh documents: loss {score.loss:.3f}, {above} above the floor of"
        f" {score.floor:.3f} that no model can beat"
    )
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in sorted(score.accuracy.items()))
    share = sum(score.right.values()) / sum(score.asked.values())
    console.print(f"answers that only the document holds: {share:.0%} right ({kinds})")


def chapter(console: Console, number: int, title: str) -> None:
    console.print()
    console.rule(f"{number}. {title}", align="left")
