"""One training step as a story: the guess, the surprise, the blame, the changed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from glassformer.formula.spelling import FULL, compared, fewest_digits, number, spelled
from glassformer.ops import IGNORED
from glassformer.show.explanation import short_address
from glassformer.show.fold import Fold
from glassformer.show.labels import index_label
from glassformer.show.matrix import INDENT, signed_style
from glassformer.show.prediction import best_tokens, token_name
from glassformer.show.preference_story import is_of_pairs, print_pair, print_pair_after
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.step_grid import print_grids
from glassformer.show.surprise import chance, surprises
from glassformer.show.table import Bars, Cell, Column, comparisons, print_table
from glassformer.show.values import array, probabilities
from glassformer.trace import Address, Trace
from glassformer.trace.predicted import sees_both_ways

ROWS = (8, 2)  # asked tokens shown from the start and from the end
WEIGHTS = 6  # weights shown, the largest first
GUESSES = 5
SMALL = 1_000  # parameters, up to which all gradients and changes are shown


@dataclass(frozen=True)
class StepStory:
    """What is told: the watched step and the same pass after it; `clip` is the norm allowed."""

    trace: Trace
    after: Trace
    clip: float


class Extreme(NamedTuple):
    """A weight's numbers of one kind: their length and the largest of them with its address."""

    length: float
    largest: float
    address: str


def weights_of(trace: Trace) -> list[str]:
    """The weights that the watched step changes, by name."""
    nodes = [node for node in trace.computed if node.role == "change"]
    return [node.name.removesuffix(".change") for node in nodes]


def extreme(trace: Trace, path: str) -> Extreme:
    """Length and largest number of a recorded value."""
    node = trace.nodes[path]
    value = array(trace, node).astype(np.float64)
    at = np.unravel_index(int(np.abs(value).argmax()), value.shape)
    index = tuple((axis, int(i)) for axis, i in zip(node.axes, at, strict=True))
    address = short_address(trace, str(Address(node.kind, node.name, index)))
    return Extreme(float(np.sqrt((value**2).sum())), value[at].item(), address)


def target_tokens(trace: Trace) -> list[tuple[int, int]]:
    """(position, token) for every token that the loss asks for, of the first text."""
    targets = array(trace, trace.nodes["token/targets"])[0]
    return [(pos, int(token)) for pos, token in enumerate(targets) if token != IGNORED]


def print_step(story: StepStory, sheet: Sheet, everything: bool = False) -> None:
    """Print the story; a model of at most `SMALL` parameters with all its numbers."""
    trace = story.trace
    names = weights_of(trace)
    small = sum(trace.nodes[f"weight/{name}"].nbytes for name in names) // 4 <= SMALL
    pairs = is_of_pairs(trace)
    if pairs:
        print_pair(trace, sheet)
    else:
        _before(story, sheet, everything)
    _gradient(story, sheet)
    if not small:
        _gradients(trace, names, sheet, everything)
    sheet.title("The changes" if not small else "Every gradient, and every change")
    if small:
        print_grids(trace, names, sheet)
        sheet.line()
    _changes(trace, names, sheet, WEIGHTS if not small else 3, everything)
    if pairs:
        print_pair_after(trace, story.after, sheet)
    else:
        _after(story, sheet, everything)


def _before(story: StepStory, sheet: Sheet, everything: bool) -> None:
    trace = story.trace
    sheet.title("Before: what it says, and how surprised it is")
    probs = probabilities(trace)
    assert probs is not None, "a watched step records its logits"
    tokens = target_tokens(trace)
    fold = Fold.unfolded(len(tokens)) if everything else Fold.of(len(tokens), *ROWS)
    losses = array(trace, trace.nodes["fwd/token_loss"])[0, [pos for pos, _ in tokens]]
    losses = losses.astype(np.float64)
    printed = surprises(losses, fold.shown, _loss(trace))
    rows: list[list[Cell]] = []
    shown = zip(fold.shown, printed.probabilities, printed.surprises, strict=True)
    for (pos, token), p, surprise in ((tokens[i], p, surprise) for i, p, surprise in shown):
        best = best_tokens(probs[pos], 1)[0]
        words = [index_label(trace, "pos", pos), token_name(trace, token)]
        # the number first, so that a narrow terminal cuts the word
        guess = f"{chance(float(probs[pos, best]))} {token_name(trace, best)}"
        rows.append([*words, p, surprise, guess])
    right = {"right": True}
    columns = [Column(_where(trace), most=18), Column("asked", most=14)]
    columns += [Column("probability", **right), Column("surprise", **right)]
    print_table(sheet, [*columns, Column("best guess", most=None)], rows)
    if fold.missing:
        rest = printed.together(losses[fold.head : fold.head + fold.missing])
        _left_out(sheet, f"{fold.summary('asked token')}, their surprises sum to {rest}")
    if len(tokens) == 1:
        pos = tokens[0][0]
        guesses = best_tokens(probs[pos], GUESSES)
        said = ", ".join(f"{token_name(trace, i)} {chance(float(probs[pos, i]))}" for i in guesses)
        sheet.prose(f"The most probable: {said}", QUIET, indent=2, hanging=2)
    mean = "the surprise" if len(tokens) == 1 else "the mean surprise"
    sheet.prose(f"The loss, {mean}: {number(_loss(trace))} nats (fwd/loss).", indent=2)


def _where(trace: Trace) -> str:
    """How the asked token stands to the one beside it."""
    return "at" if sees_both_ways(trace) else "after"


def _gradient(story: StepStory, sheet: Sheet) -> None:
    trace = story.trace
    norm, clip = (trace[f"opt/{name}"].item() for name in ("grad_norm", "clip"))
    sheet.title("The gradient: how the loss would grow with each number")
    limit = spelled(story.clip, FULL)
    length = number(norm)
    if not story.clip:
        said = "it is used as it is"
    elif clip < 1:
        digits = fewest_digits(clip, lambda d: story.clip / float(number(norm, d)), (4,))
        length = number(norm, digits.operands)
        said = f"longer than {limit}, so all of it is multiplied by {number(clip)} (opt/clip)"
    else:
        said = f"not longer than {limit}, so it is used as it is"
    sheet.prose(f"Its length, over all weights: {length} (opt/grad_norm); {said}.", indent=2)


def _gradients(trace: Trace, names: list[str], sheet: Sheet, everything: bool) -> None:
    result = sorted((extreme(trace, f"bwd/{name}") for name in names), reverse=True)
    shown = result if everything else result[:WEIGHTS]
    sheet.line()
    _addressed(sheet, ("length", "largest"), [(number(e.length, 3), e) for e in shown])
    _left_out(sheet, _more(len(result) - len(shown)))


def _changes(trace: Trace, names: list[str], sheet: Sheet, n: int, everything: bool) -> None:
    result = []
    for name in names:
        change = extreme(trace, f"opt/{name}.change")
        length = extreme(trace, f"weight/{name}").length
        # a weight that was all zero has grown beyond any ratio
        ratio = change.length / length if length else np.inf if change.length else 0.0
        result.append((ratio, change))
    result.sort(key=lambda pair: (-abs(pair[1].largest), pair[1].address))
    shown = result if everything else result[:n]
    sheet.prose(
        "The biggest changes, each weight's largest; the ratio is the length of the weight's"
        " whole change by that of the weight:",
        QUIET,
        indent=2,
    )
    _addressed(sheet, ("ratio", "change"), [(number(ratio, 3), e) for ratio, e in shown])
    _left_out(sheet, _more(len(result) - len(shown)))


def _after(story: StepStory, sheet: Sheet, everything: bool) -> None:
    trace = story.trace
    sheet.title("After: the same text again, with the new weights")
    before, after = probabilities(trace), probabilities(story.after)
    assert before is not None, "a watched step records its logits"
    assert after is not None, "so does the pass after it"
    tokens = target_tokens(trace)
    fold = Fold.unfolded(len(tokens)) if everything else Fold.of(len(tokens), *ROWS)
    shown = [tokens[i] for i in fold.shown]
    p, q = ([float(probs[at]) for at in shown] for probs in (before, after))
    rows: list[list[Cell]] = [
        [index_label(trace, "pos", pos), token_name(trace, token), *printed, now - was]
        for (pos, token), printed, was, now in zip(shown, comparisons(p, q), p, q, strict=True)
    ]
    columns = [Column(_where(trace), most=18), Column("asked", most=14)]
    columns += [Column(title, right=True) for title in ("before", "after", "difference")]
    print_table(sheet, [*columns, Bars()], rows)
    _left_out(sheet, fold.summary("asked token"))
    was, now, change = compared([_loss(trace)], [_loss(story.after)])[0]
    sheet.prose(
        f"The loss: {was} before, {now} after ({change}).",
        "bold",
        indent=2,
    )


def _addressed(sheet: Sheet, titles: tuple[str, str], rows: list[tuple[str, Extreme]]) -> None:
    """A number, the largest, and its address, which is never cut: it may stand on its own line."""
    sheet.line(INDENT, (f"{titles[0]:>8} {titles[1]:>10}  its address", QUIET))
    for first, result in rows:
        head = f"{first:>8} "
        largest = (f"{number(result.largest):>10}", signed_style(result.largest))
        fits = len(INDENT) + 21 + len(result.address) <= sheet.width
        sheet.line(INDENT, head, largest, f"  {result.address}" if fits else "")
        if not fits:
            sheet.line(INDENT * 2, result.address)


def _loss(trace: Trace) -> float:
    return trace["fwd/loss"].item()


def _more(n: int) -> str:
    return f"{n} more weights" if n else ""


def _left_out(sheet: Sheet, what: str) -> None:
    if what:
        sheet.prose(f"… {what}; --all shows them", QUIET, indent=2, hanging=2)
