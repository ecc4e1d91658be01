"""glassformer lab in-context: what a model learns from its prompt, as a report with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from matplotlib.figure import Figure

from glassformer.cli.as_json import AsJson
from glassformer.cli.lab.subject import Subject
from glassformer.cli.streams import say, say_json
from glassformer.cli.watching import AtStep, Run
from glassformer.errors import GlassformerError
from glassformer.formula.spelling import number
from glassformer.lab.answering_heads import AnsweringHeads, answering_heads
from glassformer.lab.in_context_learning import (
    Reading,
    Repeats,
    Score,
    accuracy_by_examples,
    loss_by_position,
    measure_repeats,
    read_texts,
    readable_tokens,
)
from glassformer.show.plots.in_context import (
    draw_examples,
    draw_induction,
    draw_loss_by_position,
    draw_repeats,
)
from glassformer.show.plots.style import write
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Bars, Cell, Column, comparisons, print_table
from glassformer.text.storyland import Document
from glassformer.training.run import read_description
from glassformer.training.storyland import documents

TEXTS = 600
SEED = "in-context"  # that no training takes
LEAST = 20  # texts, or answers, that a mean is drawn from
HEADS = 8
MOST_EXAMPLES = 8
QUESTIONING = 300  # texts, for the heads: each head is switched off over all of them

Pictures = Iterator[tuple[str, Figure]]


class Written(NamedTuple):
    """A corpus of known answers: how it is called, and the `kinds` of text that make them up anew.

    The word asked about stands `back` tokens before its answer.
    """

    name: str
    texts: str
    kinds: tuple[str, ...]
    example: str
    back: int


CORPORA = {
    "storyland": Written("Storyland", "Storyland texts", ("colours", "words"), "fig is red", 2),
    "prompts": Written("prompts", "prompts", ("secret",), "cat secret: dax", 3),
}


def command(
    run: Run,
    out: Annotated[
        Path | None, typer.Option(help="The folder for the pictures.", metavar="FOLDER")
    ] = None,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a model learns from its own prompt.

    Surprise by position, the induction score of each head and, for a run on
    Storyland or of --preset translation-in-context, answers by the number of
    examples that stood before.

    \b
    glassformer lab in-context runs/latest --out pictures
    """
    subject, sheet = Subject(run, at_step), Sheet()
    if subject.has_two_towers:
        raise GlassformerError(
            "learning in context is a decoder's: two towers read one source and no examples; train"
            " a decoder for it with --preset translation-in-context"
        )
    if as_json:
        return say_json(_as_data(subject))
    for name, figure in _report(subject, sheet):
        if out is not None:
            say(f"  picture: {write(figure, out / f'{name}.png')}")
    return None


def _report(subject: Subject, sheet: Sheet) -> Pictures:
    repeats = measure_repeats(subject.model, readable_tokens(subject.tokenizer))
    yield from _tell_repeats(sheet, repeats)
    yield from _tell_induction(sheet, repeats)
    why_not = _why_not_measured(subject.run)
    sheet.title("Examples in the prompt")
    if why_not:
        sheet.prose(f"Left out: {why_not}.")
        return
    kind = _kind_of(subject.run)
    corpus, texts = CORPORA[kind], _texts(kind)
    readings = _read(subject, texts)
    yield from _tell_examples(sheet, corpus, accuracy_by_examples(texts, readings))
    _tell_answering(sheet, corpus, _answering(subject, corpus, texts))
    yield from _tell_positions(sheet, corpus, readings)


def _texts(kind: str) -> list[Document]:
    """Texts that no training has seen."""
    return [*documents(SEED, TEXTS, kind)]


def _read(subject: Subject, texts: list[Document]) -> list[Reading]:
    return read_texts(subject.model, subject.tokenizer, [document.text for document in texts])


def _answering(subject: Subject, corpus: Written, texts: list[Document]) -> AnsweringHeads:
    new = islice((d for d in texts if d.kind in corpus.kinds), QUESTIONING)
    return answering_heads(subject.model, subject.tokenizer, [*new], corpus.back)


def _as_data(subject: Subject) -> dict[str, Any]:
    """The whole report; nats per token, induction in 0 to 1, [layer][head]."""
    repeats = measure_repeats(subject.model, readable_tokens(subject.tokenizer))
    data: dict[str, Any] = {
        "repeated_tokens": repeats.n,
        "sequences": repeats.sequences,
        "surprise_by_position": repeats.loss.tolist(),
        "surprise_first": repeats.first,
        "surprise_again": repeats.second,
        "induction": repeats.induction.tolist(),
        "induction_if_uniform": repeats.uniform,
        "storyland": None,
    }
    if not _why_not_measured(subject.run):
        kind = _kind_of(subject.run)
        texts = _texts(kind)
        readings = _read(subject, texts)
        data[kind] = {
            "answers": [asdict(score) for score in accuracy_by_examples(texts, readings)],
            "answering_heads": asdict(_answering(subject, CORPORA[kind], texts)),
            "surprise_by_position": loss_by_position(readings, LEAST),
        }
    return data


def _kind_of(run: str) -> str:
    """The corpus that a run was trained on."""
    return str(read_description(Path(run)).corpus.get("kind"))


def _why_not_measured(run: str) -> str:
    if not (Path(run) / "run.json").is_file():
        return f"{run} is no run folder, so nothing says that it was trained on Storyland"
    if _kind_of(run) not in CORPORA:
        return f"{run} was trained on other text than Storyland, whose patterns it never saw"
    return ""


def _tell_repeats(sheet: Sheet, repeats: Repeats) -> Pictures:
    """Surprise by position where random tokens come a second time."""
    n, loss = repeats.n, repeats.loss.double()
    sheet.title("Surprise by position, when random tokens come again")
    sheet.prose(
        f"{n} different random tokens, then the same {n}, {repeats.sequences} times: mean surprise"
        " in nats. The first time nothing can be known; the second time everything but the start."
    )
    rows: list[list[Cell]] = []
    for start, end, copy in _stretches(n):
        mean = loss[start - 1 : end].mean().item()
        positions = f"{start} to {end}" if end > start else f"{start}"
        rows.append([positions, copy, number(mean), mean])
    columns: list[Column | Bars] = [
        Column("position"),
        Column("the tokens are"),
        Column("surprise", right=True),
        Bars(),
    ]
    print_table(sheet, columns, rows)
    new, again, gain = comparisons([repeats.first], [repeats.second])[0]
    sheet.line(f"  new {new}, again {again}, difference ", gain)
    yield "surprise-by-position", draw_repeats(loss.numpy(), n, repeats.first, repeats.second)


def _stretches(n: int, parts: int = 4) -> Iterator[tuple[int, int, str]]:
    """Positions 1 to 2n - 1 in a few stretches, none across the start of the second copy."""
    copies = (1, n - 1, "new"), (n, n, "the first again"), (n + 1, 2 * n - 1, "again")
    for first, last, copy in copies:
        step = max(-(-(last - first + 1) // parts), 1)
        for start in range(first, last + 1, step):
            yield start, min(start + step - 1, last), copy


def _tell_induction(sheet: Sheet, repeats: Repeats) -> Pictures:
    """The induction score of the best heads."""
    scores = repeats.induction.double()
    n_heads = scores.shape[1]
    sheet.title("Induction: heads that look at what came next last time")
    sheet.prose(
        "Score: mean attention from a token to the one after its previous occurrence (Olsson et"
        f" al. 2022), on the same tokens. Looking at all alike scores {number(repeats.uniform)}."
    )
    order = scores.flatten().argsort(descending=True, stable=True).tolist()
    rows: list[list[Cell]] = [
        [f"layer {i // n_heads} head {i % n_heads}", number(score), score]
        for i in order[:HEADS]
        for score in [scores.flatten()[i].item()]
    ]
    print_table(sheet, [Column("head"), Column("score", right=True), Bars(total=1)], rows)
    if len(order) > HEADS:
        least, most = (number(scores.flatten()[order[i]].item()) for i in (-1, HEADS))
        remainder = f"… {len(order) - HEADS} more heads, from {most} down to {least}"
        sheet.prose(f"{remainder}; the picture has them all (--out)", QUIET, indent=2, hanging=2)
    if scores.max() <= repeats.uniform:
        sheet.prose(
            "No head looks there more than by chance: this model does not copy random tokens. It"
            " may still answer from its prompt where its own texts ask for it.",
            indent=2,
        )
    yield "induction", draw_induction(scores.numpy(), repeats.uniform)


def _tell_examples(sheet: Sheet, corpus: Written, scores: list[Score]) -> Pictures:
    """Answers that were the best guess, by kind of text (columns) and examples before (rows)."""
    sheet.prose(
        f"{TEXTS} fresh {corpus.texts}: share of answers that were the model's best guess, by how"
        " often the text had shown the answer before."
    )
    kinds = sorted({score.kind for score in scores})
    by_examples = {(score.kind, score.n_examples): score for score in scores}
    most = min(max(score.n_examples for score in scores), MOST_EXAMPLES)
    rows: list[list[Cell]] = []
    for n_examples in range(min(score.n_examples for score in scores), most + 1):
        measured = [by_examples.get((kind, n_examples)) for kind in kinds]
        cells = ["" if s is None else f"{number(s.accuracy, 3)} /{s.asked:>4}" for s in measured]
        rows.append([str(n_examples), *cells])
    columns: list[Column | Bars] = [
        Column("examples", right=True),
        *(Column(kind, right=True) for kind in kinds),
    ]
    print_table(sheet, columns, rows)
    sheet.prose("each cell: share right / answers asked", QUIET, indent=2)
    beyond = sum(score.asked for score in scores if score.n_examples > most)
    if beyond:
        sheet.prose(f"… {beyond} answers after more examples left out", QUIET, indent=2)
    curves = {
        kind: [
            (s.n_examples, s.accuracy)
            for s in scores
            if s.kind == kind and s.asked >= LEAST and s.n_examples <= most
        ]
        for kind in kinds
    }
    drawn = {kind: points for kind, points in curves.items() if points}
    if drawn:
        yield "examples", draw_examples(drawn)


def _tell_answering(sheet: Sheet, corpus: Written, answering: AnsweringHeads) -> None:
    """What each head looks at when an answer is due, and what is lost without it."""
    sheet.title("Heads that answer from the prompt")
    sheet.prose(
        f"{answering.questions:,} answers that only the prompt can tell ({corpus.example} ..."
        f" {corpus.example.rpartition(' ')[0]}):"
        f" {number(answering.accuracy, 3)} are right. Where each head looks when the answer is due,"
        " and how many are right with that head switched off."
    )
    rows: list[list[Cell]] = [
        [
            f"layer {head.layer} head {head.head}",
            number(head.to_answer, 3),
            number(head.to_subject, 3),
            number(head.accuracy_without, 3),
            head.accuracy_without,
        ]
        for head in answering.heads[:HEADS]
    ]
    columns: list[Column | Bars] = [
        Column("head"),
        Column("to the answer", right=True),
        Column("to the word asked about", right=True),
        Column("right without it", right=True),
        Bars(total=1),
    ]
    print_table(sheet, columns, rows)
    if len(answering.heads) > HEADS:
        rest = f"… {len(answering.heads) - HEADS} more heads, which are missed less"
        sheet.prose(rest, QUIET, indent=2)


def _tell_positions(sheet: Sheet, corpus: Written, readings: list[Reading]) -> Pictures:
    """Surprise by position in the texts."""
    loss = loss_by_position(readings, LEAST)
    sheet.title(f"Surprise by position in {corpus.texts}")
    rows: list[list[Cell]] = []
    start = 1
    while start <= len(loss):
        end = min(2 * start - 1, len(loss))
        mean = sum(loss[start - 1 : end]) / (end - start + 1)
        rows.append([f"{start} to {end}" if end > start else f"{start}", number(mean), mean])
        start = end + 1
    print_table(sheet, [Column("position"), Column("surprise", right=True), Bars()], rows)
    sheet.prose(
        "in nats per token; late tokens are easier also because texts begin with a choice", QUIET, 2
    )
    yield "storyland-by-position", draw_loss_by_position(loss, len(readings))
