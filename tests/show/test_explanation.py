"""An explanation in the terminal: working addresses, terms that add up, a tree with an end."""

import re
from itertools import pairwise

import pytest
from rich.cells import cell_len

from glassformer.formula.spelling import number
from glassformer.show.explanation import print_explanation, short_address
from tests.calculator import calculate, gives, last_digit
from tests.show.traces import Screen, small, wide

Q = "blocks.1.attn.q[pos=3,head=1,d_head=2]"


def rendered(explanation, width=80, **options):
    screen = Screen(width)
    print_explanation(explanation, screen.console, **options)
    return screen


def under(lines, title):
    start = lines.index(title) + 1
    end = next((i for i in range(start, len(lines)) if not lines[i]), len(lines))
    return lines[start:end]


def test_formula_numbers_and_check_are_the_explanations():
    explanation = small().explain(Q)
    text = rendered(explanation, 200).text
    assert explanation.formula in text
    assert explanation.arithmetic.splitlines()[0] in text
    assert f"recorded    {explanation.value!r} (float32)" in text
    assert f"recomputed  {explanation.recomputed!r} (float64)" in text
    assert "agrees" in text


def test_every_operand_has_an_address_that_gives_its_value():
    trace = small()
    result = re.findall(r"^ +(\S+)  (\w+/\S+)$", rendered(trace.explain(Q)).text, re.M)
    assert len(result) == 8 + 8 + 1  # the normalized vector, its weights, one bias
    for value, address in result:
        assert number(trace[address].item()) == value


def test_the_running_sum_is_the_sum_of_the_terms_and_each_the_product_of_its_factors():
    trace = small()
    rows = under(rendered(trace.explain(Q)).lines, "The sum, term by term")
    assert rows[0].split() == ["d_model", "normalized", "W_Q", "term", "sum", "so", "far"]
    terms: list[str] = []
    for row in rows[1:]:
        _, x, w, term, running = row.split()
        assert gives(f"{x} * {w}", term)
        terms.append(f"({term})")
        unit = last_digit(running)
        assert calculate(" + ".join(terms)) == pytest.approx(float(running), abs=unit / 100)
    total = trace[Q].item() - trace["weight/blocks.1.attn.b_Q[head=1,d_head=2]"].item()
    assert calculate(" + ".join(terms)) == pytest.approx(total, rel=1e-5)


def test_long_sums_are_folded_and_all_unfolds_them():
    explanation = wide(4).explain(Q)
    folded, unfolded = rendered(explanation).text, rendered(explanation, everything=True).text
    assert "d_model 6 to 93 left out (88 of 96); --all shows them" in folded
    assert "W_Q operands 6 to 93 left out (88 of 96); --all shows them" in folded
    assert "left out" not in unfolded
    rest, so_far = re.findall(r"… 88 more +(\S+) +(\S+)", folded)[0]
    before = re.findall(r"^  5 .* (\S+)$", folded, re.M)[0]
    assert gives(f"{before} + ({rest})", so_far)
    assert unfolded.count("weight/blocks.1.attn.W_Q[") == 96


def test_the_words_of_the_indices_are_told():
    explanation = small().explain("blocks.0.attn.pattern[head=0,query=4,key=1]")
    assert rendered(explanation).lines[1] == "query 4 <script>, key 1 ␣cat"


def test_the_tree_ends_at_weights_and_tokens():
    trace = small(2, d_model=2, n_heads=1, d_mlp=2)
    lines = rendered(trace.explain("resid_start[pos=1,d_model=0]"), follow=9, everything=True).lines
    leaves = [line.split()[-1] for line in lines if "─ " in line]
    assert "token/ids[pos=1]" in leaves
    assert "weight/embed.W_E[vocab=1,d_model=0]" in leaves
    assert "const/position[pos=1]" in leaves


def test_a_tree_follows_as_deep_as_it_is_told():
    explanation = small().explain("blocks.0.attn.scores_scaled[head=0,query=2,key=1]")
    one, two = (rendered(explanation, follow=depth).text for depth in (1, 2))
    assert "└─ " in one
    assert "attn.k[" not in one
    assert "attn.k[" in two


@pytest.mark.parametrize("full", [False, True])
def test_every_number_of_a_tree_stands_above_arithmetic_that_makes_it(full: bool):
    explanation = small().explain("blocks.0.attn.pattern[head=0,query=2,key=1]")
    lines = rendered(explanation, 400, follow=4, full=full).lines
    tree = [line.lstrip(" │├└─") for line in under(lines, "Where its operands come from, 4 deep")]
    made = [(above, line) for above, line in pairwise(tree) if " = " in line]
    assert len(made) > 8
    for above, line in made:
        numbers, _, result = line.partition(" = ")
        assert gives(numbers, result), line
        # both are rounded, the one to 4 digits or more; float32 rounds numbers of about 1 to 1e-7
        assert float(above.split()[0]) == pytest.approx(float(result), rel=1e-3, abs=1e-6)
    # an operand has the digits that the arithmetic above it has
    first = explanation.line_in_full if full else explanation.line
    assert first is not None
    for part in first.numbers.split(" / "):
        assert any(line.startswith(f"{part}  ") for line in tree), part


def test_no_line_is_wider_than_the_terminal_however_deep_the_tree():
    explanation = wide(4).explain("blocks.4.attn.scores_scaled[head=0,query=2,key=1]")
    lines = rendered(explanation, 80, follow=7).lines
    assert max(map(cell_len, lines)) <= 80


def test_a_masked_cell_and_a_leaf_say_what_they_are():
    trace = small()
    masked = rendered(trace.explain("blocks.0.attn.attn_scores[head=0,query=0,key=2]")).text
    assert "= -inf" in masked
    assert "masked: this query may not look at this key" in masked
    assert "difference  0; rounding allows 0: agrees" in masked
    leaf = rendered(trace.explain("weight/embed.W_E[vocab=0,d_model=0]")).text
    assert "A trained parameter" in leaf
    assert "Operands" not in leaf


def test_axes_of_length_one_are_left_out_of_an_address():
    trace = small(3, n_heads=1)
    long = "fwd/blocks.0.attn.pattern[batch=0,head=0,query=2,key=1]"
    assert short_address(trace, long) == "fwd/blocks.0.attn.pattern[query=2,key=1]"
    assert trace[short_address(trace, long)] == trace[long]
