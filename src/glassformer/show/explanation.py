"""One number explained in the terminal: its formula, its arithmetic, its operands, its check."""

from __future__ import annotations

from textwrap import wrap

from rich.console import Console

from glassformer.formula.arithmetic import Line
from glassformer.formula.spelling import OPERAND_DIGITS, number, spelled
from glassformer.show.fold import Fold
from glassformer.show.formulas import formula_text
from glassformer.show.labels import index_label, word_at
from glassformer.show.matrix import INDENT, signed_style
from glassformer.show.sheet import QUIET, Part, Sheet
from glassformer.trace import Explanation, Operand
from glassformer.trace.address import Address
from glassformer.trace.explain import explain
from glassformer.trace.graph import Graph

ROWS = (6, 2)  # terms and operands shown from the start and from the end
BRANCHES = (2, 1)  # operands shown of each value that a number of a tree read
NUMBER = 11
GOOD, BAD = "color(33)", "bold color(166)"


def print_explanation(
    explanation: Explanation,
    console: Console | None = None,
    *,
    everything: bool = False,
    follow: int = 0,
    full: bool = False,
) -> None:
    """Print how one number was made.

    `everything`: all terms and operands of long sums; `follow`: this many levels of operands as a
    tree, which ends at weights and tokens; `full`: the arithmetic with every digit.
    """
    _Telling(explanation, Sheet(console), everything, full).print(follow)


def print_arithmetic(explanation: Explanation, sheet: Sheet) -> None:
    """Print one number, its formula with the numbers put in, and its check: no operands."""
    _Telling(explanation, sheet, everything=False, full=False).print_arithmetic()


def short_address(trace: Graph, address: str) -> str:
    """The address without its axes of length 1, whose only index is understood.

    >>> short_address(Graph(), "fwd/loss")
    'fwd/loss'
    """
    where = Address.parse(address)
    node = trace.nodes.get(where.path)
    if node is None:
        return address
    lengths = dict(zip(node.axes, node.shape, strict=True))
    return str(where.element(**{axis: i for axis, i in where.index if lengths[axis] > 1}))


def words_of(trace: Graph, at: dict[str, int]) -> str:
    """What the indices stand for, where the trace has words: ``query 3 on, key 1 cat``."""
    return ", ".join(
        f"{axis} {index_label(trace, axis, i)}" for axis, i in at.items() if word_at(trace, axis, i)
    )


def _formula(explanation: Explanation) -> str:
    return formula_text(explanation.formula, explanation.node.operands)


def operand_name(address: str) -> str:
    """What a formula calls an operand: a gradient has a d_ before its value's name.

    >>> operand_name("fwd/blocks.0.mlp.post"), operand_name("bwd/blocks.0.mlp.mlp_out")
    ('post', 'd_mlp_out')
    """
    where = Address.parse(address)
    return ("d_" if where.kind == "bwd" else "") + where.name.rpartition(".")[2]


class _Telling:
    def __init__(
        self, explanation: Explanation, sheet: Sheet, everything: bool, full: bool
    ) -> None:
        self.explanation, self.sheet, self.everything = explanation, sheet, everything
        self.full = full
        self.trace = explanation.trace

    def print(self, follow: int) -> None:
        sheet, explanation = self.sheet, self.explanation
        self._number()
        if explanation.source:
            sheet.prose(f"Source: {explanation.source}", QUIET)
        if explanation.formula:
            self._section("Formula")
            sheet.prose(_formula(explanation), "italic", indent=2, hanging=4)
            self._section("With the numbers put in")
            self._arithmetic()
            self._terms()
            self._operands()
            self._check()
        for flag in explanation.flags:
            sheet.prose(f"Note: {flag}.", hanging=2)
        if follow > 0:
            self._section(f"Where its operands come from, {follow} deep")
            _Tree(self.trace, sheet, self.everything, self.full).grow(explanation, follow)

    def print_arithmetic(self) -> None:
        explanation = self.explanation
        self._number()
        self.sheet.prose(_formula(explanation), "italic", indent=2, hanging=4)
        self._arithmetic()
        verdict = "agrees" if explanation.agrees else "DOES NOT AGREE"
        again = f"in float64 {explanation.recomputed!r}: {verdict}"
        self.sheet.prose(f"recorded {explanation.value!r}, {again}", QUIET, indent=2, hanging=2)

    def _number(self) -> None:
        """The address and its value, what the indices stand for, what the number is."""
        sheet, explanation = self.sheet, self.explanation
        address = short_address(self.trace, explanation.address)
        sheet.prose(f"{address} = {number(explanation.value, 6)}", "bold", hanging=4)
        words = [words_of(self.trace, explanation.at)]
        if explanation.node.role == "token":
            token = int(explanation.value)
            words += [words_of(self.trace, {"vocab": token})]
        if any(words):
            sheet.prose(", ".join(filter(None, words)), QUIET, hanging=2)
        sheet.prose(explanation.summary)

    def _arithmetic(self) -> None:
        explanation = self.explanation
        arithmetic = explanation.arithmetic_in_full if self.full else explanation.arithmetic
        for line in arithmetic.splitlines():
            space = len(line) - len(line.lstrip())
            self.sheet.prose(line.strip(), indent=2 + space, hanging=4)
        if "≈" in arithmetic and not self.full:
            note = "≈: the operands nearly cancel, so more digits count; --full shows them all"
            self.sheet.prose(note, QUIET, indent=2, hanging=2)

    def _section(self, title: str) -> None:
        self.sheet.line()
        self.sheet.line((self.sheet.clip(title, self.sheet.width), "bold underline"))

    def _fold(self, n: int) -> Fold:
        return Fold.unfolded(n) if self.everything else Fold.of(n, *ROWS)

    def _terms(self) -> None:
        """The sum, term by term, beside the operands that have one number in every term."""
        terms = self.explanation.terms
        if not terms:
            return
        sheet = self.sheet
        self._section("The sum, term by term")
        beside = {
            path: group
            for path, group in self.explanation.operand_groups.items()
            if len(group) == len(terms)
        }
        fold = self._fold(len(terms))
        digits = terms.digits(fold.shown)
        axis = " ".join(terms[0].index)
        names = [*map(operand_name, beside), "term", "sum so far"]
        rows: list[tuple[str, list[tuple[str, str]]]] = []
        for i in fold.places:
            if i is None:
                start, stop = fold.head, fold.head + fold.missing
                blank = [("", "")] * len(beside)
                rest = [(terms.sum_of(start, stop), QUIET), (terms[stop - 1].running, QUIET)]
                rows.append((f"… {fold.missing} more", blank + rest))
                continue
            term = terms[i]
            words = " ".join(index_label(self.trace, axis, at) for axis, at in term.index.items())
            values = [group[i].value for group in beside.values()]
            row = [(number(value, digits), signed_style(value)) for value in values]
            row += [(text, signed_style(float(text))) for text in (term.text, term.running)]
            rows.append((words, row))
        widths = [
            max(len(name), *(len(row[column][0]) for _, row in rows))
            for column, name in enumerate(names)
        ]
        budget = sheet.width - len(INDENT) - sum(widths) - 2 * len(widths)
        if budget < len(axis):  # the operands are told below as well
            budget += sum(widths[: len(beside)]) + 2 * len(beside)
            names, widths = names[len(beside) :], widths[len(beside) :]
        width = min(max(len(axis), *(len(sheet.spell(words)) for words, _ in rows)), budget)
        head = [f"  {name:>{w}}" for name, w in zip(names, widths, strict=True)]
        sheet.line(INDENT, (sheet.cell(axis, width) + "".join(head), QUIET))
        for words, row in rows:
            cells = zip(row[-len(widths) :], widths, strict=True)
            parts: list[Part] = [(f"  {text:>{w}}", style) for (text, style), w in cells]
            sheet.line(INDENT, sheet.cell(words, width), *parts)
        if not terms.column.holds:
            sheet.prose("They add up with more digits than there is room for.", QUIET, indent=2)
        self._left_out(fold.summary(axis))

    def _operands(self) -> None:
        self._section("Operands: each is an address that explain takes")
        for group in self.explanation.operand_groups.values():
            fold = self._fold(len(group))
            for i in fold.places:
                if i is None:
                    self.sheet.line(INDENT, ("…".rjust(NUMBER), QUIET))
                    continue
                address = short_address(self.trace, group[i].address)
                value = number(group[i].value)
                self.sheet.prose(f"{value:>{NUMBER}}  {address}", indent=2, hanging=NUMBER + 2)
            self._left_out(fold.summary(f"{operand_name(group[0].address)} operands"))

    def _check(self) -> None:
        explanation, sheet = self.explanation, self.sheet
        dtype = str(explanation.node.dtype).removeprefix("torch.")
        self._section("Check")
        sheet.line(INDENT, f"recorded    {explanation.value!r} ({dtype})")
        sheet.line(INDENT, f"recomputed  {explanation.recomputed!r} (float64)")
        allowed = f"rounding allows {number(explanation.bound, 2)}"
        verdict = ("agrees", GOOD) if explanation.agrees else ("DOES NOT AGREE", BAD)
        sheet.line(INDENT, f"difference  {number(explanation.error, 2)}; {allowed}: ", verdict)
        if explanation.difference is not None:
            line = f"finite difference of the loss, in float64: {explanation.difference}"
            sheet.prose(line, indent=2, hanging=2)

    def _left_out(self, what: str) -> None:
        if what:
            self.sheet.prose(f"… {what}; --all shows them", QUIET, indent=2, hanging=2)


class _Tree:
    """Operands of operands, each with the arithmetic that made it, and with that one's digits.

    A number that was followed once is not followed again.
    """

    def __init__(self, trace: Graph, sheet: Sheet, everything: bool, full: bool) -> None:
        self.trace, self.sheet, self.everything, self.full = trace, sheet, everything, full
        self._seen: set[str] = set()

    def grow(self, explanation: Explanation, depth: int, before: str = "  ") -> None:
        self._seen.add(explanation.address)
        made = self._arithmetic(explanation)
        digits = OPERAND_DIGITS[0] if made is None else made.digits.operands
        branches: list[Operand | str] = []
        for group in explanation.operand_groups.values():
            fold = Fold.unfolded(len(group)) if self.everything else Fold.of(len(group), *BRANCHES)
            left_out = fold.summary(f"{operand_name(group[0].address)} operands")
            branches += [left_out if i is None else group[i] for i in fold.places]
        for operand in branches:
            last = operand is branches[-1]
            stem, trunk = ("└─ ", "   ") if last else ("├─ ", "│  ")
            if isinstance(operand, str):
                self._line(before + stem, f"{operand}; --all shows them", QUIET)
                continue
            address = short_address(self.trace, operand.address)
            again = operand.address in self._seen
            inner = None if again else explain(self.trace, operand.address)
            leaf = inner is not None and not inner.operand_groups
            note = " (above)" if again else ""
            value = (spelled if self.full else number)(operand.value, digits)
            self._line(before + stem, f"{value}  {address}{note}", "bold" if leaf else "")
            made = None if inner is None else self._arithmetic(inner)
            if made is not None and made.result:
                below = f"{made.numbers} {made.relation} {made.result}"
                self._line(before + trunk, below, QUIET)
            if inner is not None and not leaf and depth > 1:
                self.grow(inner, depth - 1, before + trunk)

    def _arithmetic(self, explanation: Explanation) -> Line | None:
        return explanation.line_in_full if self.full else explanation.line

    def _line(self, before: str, text: str, style: str) -> None:
        """One branch; what does not fit goes on below, under its own start."""
        sheet = self.sheet
        before = sheet.clip(before, sheet.width // 2)
        budget = sheet.width - len(before)
        lines = wrap(sheet.spell(text), budget, subsequent_indent="  ", break_on_hyphens=False)
        sheet.line(before, (lines[0], style))
        blank = "".join("│" if c == "│" or c == "├" else " " for c in before)
        for line in lines[1:]:
            sheet.line(blank, (line, style))
