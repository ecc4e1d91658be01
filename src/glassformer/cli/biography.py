"""glassformer biography: a weight or a value through training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from glassformer.cli import pasted
from glassformer.cli.streams import say
from glassformer.cli.watching import note_replay, open_run
from glassformer.formula.spelling import number
from glassformer.lab.biography import SECONDS, Biography, Turn, biography, parts_of, with_blanks
from glassformer.show.labels import visible
from glassformer.show.movement import lengths_per_update, numbers_per_update
from glassformer.show.plots.biography import draw_biography, draw_maps
from glassformer.show.plots.style import write
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Bars, Cell, Column, comparisons, difference, print_table
from glassformer.text.load import load_tokenizer
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address
from glassformer.training.run import read_description
from glassformer.training.train_state import inputs_of

UPDATES = 10  # of the replayed interval, those that moved it most
BLOCKS = 4  # of a batch


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    address: Annotated[
        str,
        typer.Argument(
            help="A weight or a part of it, 'blocks.0.attn.W_Q\\[head=1]', or with --prompt any"
            " value: 'blocks.0.attn.pattern\\[head=0]'."
        ),
    ],
    prompt: Annotated[
        str | None, typer.Option(help="The text that a value is read on.", metavar="TEXT")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            min=0, help="How much of training to replay in search of that update.", metavar="N"
        ),
    ] = SECONDS,
    out: Annotated[
        Path | None, typer.Option(help="Also draw it, into this folder.", metavar="FOLDER")
    ] = None,
) -> None:
    """Follow a number, a weight or an attention map through training.

    It is read at every saved step; in between, training is replayed update by
    update, where it moved most first, and the update that moved it most is shown
    with its batch.
    """
    where = Address.parse(address)
    causal = read_description(run).model.causal
    tokenizer = load_tokenizer(run)
    read = None if prompt is None else inputs_of(open_run(str(run))[0], tokenizer, prompt)
    ids, more = read or (None, {})
    life = biography(run, where, ids, more, note_replay, seconds)
    sheet = Sheet()
    _print_points(sheet, life)
    _print_path(sheet, life)
    _print_turn(sheet, life, run, tokenizer, causal)
    if out is not None:
        say()
        for file in _draw(life, out):
            say(file)


def _size(value: Tensor) -> float:
    """The number, or the length of several."""
    return value.item() if value.numel() == 1 else value.double().nan_to_num(neginf=0).norm().item()


def _what(life: Biography) -> str:
    return "value" if life.points[0].value.numel() == 1 else "length"


def _print_points(sheet: Sheet, life: Biography) -> None:
    points, what = life.points, _what(life)
    sheet.prose(f"{life.address} through training", "bold", hanging=2)
    steps, moved = [p.step for p in points], [p.moved for p in points]
    sizes = [_size(p.value) for p in points]
    columns = [_right("after update"), _right(what)]
    if what == "value":
        values, per_update = numbers_per_update(sizes, steps, moved)
        texts = [values]
        note = "moved per update: the change since the line above, by the updates between."
    else:
        first = points[0].value
        lengths, per_update = lengths_per_update(steps, moved)
        texts = [[number(size) for size in sizes], lengths]
        columns.append(_right("moved"))
        note = (
            f"{first.numel()} numbers [{', '.join(life.axes)}]; length: the root of their squares,"
            " summed; moved: the length of the change since the line above; per update: that by"
            " the updates between."
        )
    sheet.prose(note, QUIET)
    sheet.title("At every saved step")
    rows = [list(row) for row in zip(map(str, steps), *texts, per_update, moved, strict=True)]
    columns.append(_right("moved per update" if what == "value" else "per update"))
    print_table(sheet, [*columns, Bars()], rows)


def _right(title: str) -> Column:
    return Column(title, right=True)


def _print_path(sheet: Sheet, life: Biography) -> None:
    start, end = life.path[0].step, life.path[-1].step
    sheet.title(f"Its largest change is among updates {start + 1} to {end}, replayed")
    last = life.points[-1].step
    if life.updates == last:
        sheet.prose(f"All {last} updates were made again in search of it.", QUIET)
    else:
        between = ", ".join(f"{start + 1} to {end}" for start, end in life.searched)
        sheet.prose(
            f"Of {last} updates, {life.updates} were made again in search of it: {between}."
            " --seconds N searches more.",
            QUIET,
        )
    updates = sorted(pairwise(life.path), key=lambda pair: -pair[1].moved)[:UPDATES]
    updates.sort(key=lambda pair: pair[1].step)
    befores, afters = ([_size(p.value) for p in side] for side in zip(*updates, strict=True))
    columns = [_right("update")]
    cells_of: list[Sequence[Cell]]
    if _what(life) == "value":
        cells_of = list(zip(*comparisons(befores, afters), strict=True))
        columns += map(_right, ("before", "after", "change"))
    else:
        cells_of = [[number(now) for now in afters], [number(p.moved) for _, p in updates]]
        columns += map(_right, ("length after it", "moved"))
    rows = [
        [str(p.step), *cells, p.moved] for (_, p), *cells in zip(updates, *cells_of, strict=True)
    ]
    print_table(sheet, [*columns, Bars()], rows)
    missing = end - start - len(updates)
    if missing:
        sheet.prose(f"… {missing} updates that moved it less left out", QUIET, indent=2)


def _print_turn(
    sheet: Sheet, life: Biography, run: Path, tokenizer: Tokenizer, causal: bool
) -> None:
    turn = life.turn
    sheet.title(f"Update {turn.step} moved it most")
    change = (turn.after.double() - turn.before.double()).nan_to_num()
    farthest = torch.unravel_index(change.abs().argmax(), change.shape)
    at = tuple(int(i) for i in farthest)
    address = life.address
    if at:
        index = dict(address.index) | dict(zip(life.axes, at, strict=True))
        address = address.element(**index)
        sheet.prose(f"The number that moved most: {address}", indent=2, hanging=4)
    printed = comparisons([turn.before[at].item()], [turn.after[at].item()])[0]
    names = ("before", "after", "change")
    rows: list[list[Cell]] = [[name, cell] for name, cell in zip(names, printed, strict=True)]
    if turn.gradient is not None:
        rows.append(["its gradient, clipped", difference(turn.gradient[at].item())])
    for name, rate in turn.rates.items():
        rows.append([f"learning rate of {name}", number(rate)])
    rows.append(["loss of the batch", number(turn.loss)])
    rows.append(["length of the whole gradient", number(turn.grad_norm)])
    print_table(sheet, [Column(""), Column("", right=True)], rows)
    parts = [one for batch in turn.batches for one in parts_of(batch, tokenizer, causal)]
    texts = ["".join(part.text for part in text) for text in parts]
    sheet.line()
    n_tokens = turn.batches[0].ids.shape[1]
    sheet.prose(f"Its batch, {len(texts)} blocks of {n_tokens} tokens:", indent=2)
    for text in texts[:BLOCKS]:
        sheet.line("    ", (sheet.clip(visible(text), sheet.width - 4), QUIET))
    if len(texts) > BLOCKS:
        sheet.prose(f"… {len(texts) - BLOCKS} more", QUIET, indent=4)
    _print_another(sheet, run, turn, tokenizer, causal)


def _print_another(sheet: Sheet, run: Path, turn: Turn, tokenizer: Tokenizer, causal: bool) -> None:
    """The command that makes such an update of another text, here one of the batch."""
    batch, options = turn.batches[0], [f"--from-step {turn.step - 1}"]
    words = " ".join(tokenizer.decode(batch.ids[0]).split()[:8])
    targets = batch.targets[0].tolist()
    places = [pos for pos, target in enumerate(targets) if target >= 0]
    if "source" in batch.extra:
        words = tokenizer.decode(batch.extra["source"][0])
        translation = tokenizer.decode(targets[pos] for pos in places)
        options.append(f"--reply {pasted.word(translation)}")
    elif not causal:  # the first of its blanks alone
        ids = [i if y < 0 else y for i, y in zip(batch.ids[0].tolist(), targets, strict=True)]
        ids[places[0]] = tokenizer.mask_id
        words = with_blanks(ids[: places[0] + 6], tokenizer)
        options.append(f"--target {pasted.word(tokenizer.shown(targets[places[0]]))}")
    sheet.line()
    sheet.prose("How would such an update be made of another text? From the same state:")
    verb, text, *others = pasted.parts("step", [run, words], *options)
    sheet.line(f"  {' '.join([verb, *others])} \\")
    sheet.line(f"    {text}")


def _draw(life: Biography, out: Path) -> list[Path]:
    points, path = (
        [(p.step, _size(p.value)) for p in result] for result in (life.points, life.path)
    )
    figure = draw_biography(str(life.address), _what(life), points, path, life.turn.step)
    files = [write(figure, out / "biography.png")]
    if len(life.axes) == 2:
        maps = [(p.step, p.value.numpy()) for p in life.points]
        names = (life.axes[0], life.axes[1])
        files.append(write(draw_maps(str(life.address), names, maps), out / "maps.png"))
    return files
