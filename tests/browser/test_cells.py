"""Every number on the page is the one that Python explains, on the server and in the file."""

import json
import math
import random
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from glassformer.formula.spelling import number, spelled
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.trace import Explanation, Trace
from glassformer.trace.address import Address
from glassformer.training.train_state import open_train_state
from tests.pages import export

PROMPT, TARGET = "the easiest trick to teach a dog is", "sit"
CELLS_OF_EACH_OP, GRADIENTS = 1, 10
ALL = 5, 10_000
NEARLY = 0.03
"""At most this share of lines says ≈, where numbers cancel; of a hundred or fewer, `FEW`."""
FEW = 3

# opens every address in turn and returns what its card says
READ_CARDS = """async ([hash, addresses]) => {
    const found = [];
    const text = (card, id) => card.querySelector(`[data-testid=${id}]`)?.textContent ?? null;
    for (const address of addresses) {
        location.hash = `${hash}&at=${encodeURIComponent(address)}`;
        const begun = performance.now();
        let card = null;
        while (!(card = document.querySelector(`[data-address="${address}"]`))) {
            if (performance.now() - begun > 20000) throw new Error(`no card for ${address}`);
            await new Promise((resolve) => setTimeout(resolve, 4));
        }
        found.push({
            address,
            value: text(card, "value"),
            arithmetic: text(card, "arithmetic"),
            relation: text(card, "relation"),
            recomputed: text(card, "recomputed"),
            running: [...card.querySelectorAll("[data-term]")].map((row) =>
                [...row.querySelectorAll("td")].slice(-2).map((cell) => cell.textContent)),
            agrees: card.querySelector("[data-testid=check]")?.dataset.agrees ?? null,
            operands: card.querySelectorAll("[data-operand]").length,
        });
    }
    return found;
}"""


@pytest.fixture(scope="module")
def trace(run_folder: Path) -> Trace:
    return record(
        open_train_state(str(run_folder)), TraceOptions(prompt=PROMPT, target=TARGET)
    ).trace


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of recorded numbers."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("glassformer.server.runnable.MODEL_BYTES", 0)
        out = tmp_path_factory.mktemp("exported") / "page.html"
        return export(str(run_folder), PROMPT, out, target=TARGET)


def some_cells(
    trace: Trace, seed: int, of_each: int = CELLS_OF_EACH_OP, gradients: int = GRADIENTS
) -> list[str]:
    """Cells of every op of every pass, drawn at random.

    Gradients are one op with a formula for every value, so there are more of them.
    """
    draw = random.Random(seed)
    by_op: dict[tuple[str, str | None], list[str]] = {}
    for step in trace.nodes.values():
        index = tuple((a, draw.randrange(n)) for a, n in zip(step.axes, step.shape, strict=True))
        address = str(Address(step.kind, step.name, index))
        by_op.setdefault((step.kind, step.op), []).append(address)
    return [
        address
        for (kind, _), addresses in by_op.items()
        for address in draw.sample(
            addresses, min(len(addresses), gradients if kind == "bwd" else of_each)
        )
    ]


def check(cards: Iterable[dict[str, Any]], trace: Trace) -> None:
    """Every card says what Python says, and its lines are true as they are printed."""
    lines, nearly = 0, []
    for card in cards:
        address = card["address"]
        explanation = trace.explain(address)
        assert card["value"] == number(explanation.value, 6), address
        if explanation.line is None or not explanation.operands:
            continue
        assert card["agrees"] == "true", address
        assert int(card["operands"]) > 0
        shown = re.sub(r"\s+", " ", card["arithmetic"]).strip()
        assert shown == first_line(explanation), address
        if explanation.line.result:
            printed = (card["relation"], card["recomputed"])
            assert printed == (explanation.line.relation, explanation.line.result), address
            lines += 1
            if card["relation"] == "≈":
                nearly.append(shown)
            else:
                assert rounds_to(typed(card["arithmetic"]), card["recomputed"]), (shown, printed)
        check_running(card["running"])
    assert len(nearly) <= max(FEW, NEARLY * lines), nearly


def first_line(explanation: Explanation) -> str:
    return re.sub(r"\s+", " ", explanation.arithmetic.splitlines()[0]).strip()


FUNCTIONS = ("exp", "expm1", "log", "sqrt", "tanh", "erf", "sin", "cos")


def typed(line: str) -> float:
    """What a calculator gives for a line as it is printed."""
    text = re.sub(r"\s+", " ", line).partition(" = ")[2]
    text = re.sub(r" \([^()]*(\([^()]*\)[^()]*)*: (yes|no)\)\s*$", "", text)  # what a select asked
    text = re.sub(r"\((?:all )?[\d,]+ (?:more )?(?:are|sum to) ([^)]*)\)", r"(\1)", text)
    text = re.sub(r"\(the largest of \d+ more is ([^)]*)\)", r"(\1)", text)
    if text.startswith("argmax("):
        terms = re.findall(r"(\d+):([^,]+?)(?=,|\)$)", text)
        return max(sorted((int(i), float(x)) for i, x in terms), key=lambda term: term[1])[0]
    known = {name: getattr(math, name) for name in FUNCTIONS}
    sign = {"sign": lambda x: math.copysign(1, x) if x else 0}
    names = {**known, **sign, "max": max, "abs": abs, "pi": math.pi, "inf": math.inf}
    return float(eval(text, {"__builtins__": {}}, names))


def rounds_to(value: float, printed: str) -> bool:
    """Whether a value is the printed number, rounded as that is."""
    if value == float(printed):
        return True
    mantissa = printed.lstrip("-").partition("e")[0].replace(".", "").lstrip("0")
    return any(spelled(value, digits) == printed for digits in {4, 5, 6, len(mantissa)})


def check_running(rows: list[list[str]]) -> None:
    """The sum so far is, to its last digit, the sum of the terms as printed."""
    total = Decimal(0)
    for term, so_far in rows:
        total += Decimal(term)
        assert total == Decimal(so_far), rows


def route(**fields: object) -> str:
    return f"#/attention?{urlencode(fields)}"


def check_served(page: Page, server: str, trace: Trace, cells: list[str]) -> None:
    start = route(run="small", prompt=PROMPT, target=TARGET)
    page.goto(server + start)
    page.wait_for_selector(".rail .token", state="attached")
    check(page.evaluate(READ_CARDS, [start, cells]), trace)


def check_exported(page: Page, exported: Path, trace: Trace, cells: list[str]) -> None:
    page.goto(f"{exported.as_uri()}#/attention")
    page.wait_for_selector(".rail .token", state="attached")
    check(page.evaluate(READ_CARDS, ["#/attention?", cells]), trace)


def test_served_cells_of_every_op_say_what_python_says(
    page: Page, server: str, trace: Trace
) -> None:
    cells = some_cells(trace, seed=1)
    assert len(cells) > 40
    check_served(page, server, trace, cells)


@pytest.mark.heavy
def test_the_recorded_file_says_the_same(page: Page, exported: Path, trace: Trace) -> None:
    check_exported(page, exported, trace, some_cells(trace, seed=2))


@pytest.mark.heavy
def test_hundreds_of_cells_say_what_python_says(
    page: Page, server: str, exported: Path, trace: Trace
) -> None:
    cells = some_cells(trace, 1, *ALL)
    assert len(cells) > 200
    check_served(page, server, trace, cells)
    check_exported(page, exported, trace, some_cells(trace, 2, *ALL))


def test_the_data_of_the_recorded_file_is_the_documented_format(exported: Path) -> None:
    text = exported.read_text()
    block = re.search(r'id="glassformer-data">(.*?)</script>', text, re.S)
    assert block
    data = json.loads(block[1])
    assert data["format"] == "glassformer-page"
    assert data["traces"][0]["about"]["prompt"] == PROMPT


SNIPPETS = [
    "fwd/blocks.0.attn.attn_scores[batch=0,head=0,query=3,key=1]",
    "fwd/blocks.0.attn.pattern_sum[batch=0,head=0,query=4]",
    "fwd/blocks.0.mlp.mlp_out[batch=0,pos=2,d_model=1]",
    "fwd/loss",
    "bwd/blocks.0.mlp.W_in[d_model=1,d_mlp=5]",
    "bwd/embed.W_E[vocab=1,d_model=0]",
    "opt/unembed.W_U[d_model=2,vocab=4]",
    "opt/clip",
]


def test_a_copied_snippet_recomputes_the_number_and_asserts_it(
    page: Page, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    snippets = []
    for address in SNIPPETS:
        fields = {"run": "miniature", "prompt": "the cat sat on a", "target": "mat", "at": address}
        page.goto(f"{server}#/map?{urlencode(fields)}")
        page.locator(f'[data-address="{address}"]').get_by_text("Copy as PyTorch").click()
        page.get_by_text("Copied").first.wait_for()
        snippets.append(page.evaluate("navigator.clipboard.readText()"))
    assert all("assert_close" in snippet for snippet in snippets)
    exec("\n".join(snippets), {})
    assert len(capsys.readouterr().out.splitlines()) == len(SNIPPETS)


@pytest.mark.heavy
def test_full_precision_is_a_click_away(page: Page, server: str, trace: Trace) -> None:
    address = "fwd/blocks.0.attn.scores_raw[batch=0,head=0,query=3,key=1]"
    page.goto(server + route(run="small", prompt=PROMPT, target=TARGET, at=address))
    card = page.locator(f'[data-address="{address}"]')
    card.get_by_role("button", name="full precision").click()
    line = trace.explain(address).line_in_full
    assert line is not None
    expect(card.get_by_test_id("recomputed")).to_have_text(re.compile(r"\.\d{13,}$"))
    result = float(card.get_by_test_id("recomputed").inner_text())
    assert result == pytest.approx(float(line.result), rel=1e-14)  # a sum in another order
    shown = re.sub(r"\s+", " ", card.get_by_test_id("arithmetic").inner_text()).strip()
    assert shown == f"scores_raw = {line.numbers}"


def test_a_masked_target_says_that_it_is_not_asked_for(page: Page, server: str) -> None:
    """The last token of a text has no next one that could be asked for."""
    small = urlencode({"run": "small", "prompt": PROMPT})
    page.goto(f"{server}#/map?{small}&at=token/targets[batch=0,pos=7]")
    card = page.locator("[data-address^='token/targets']")
    expect(card).to_contain_text("masked: not asked for")
