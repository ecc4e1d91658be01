"""The story in the terminal: the trace's numbers, lines that fit, nothing left out unsaid."""

import re

import pytest
from rich.cells import cell_len

from glassformer.errors import GlassformerError
from glassformer.formula.spelling import number
from glassformer.show.attention_map import MASKED
from glassformer.show.stages import is_between
from glassformer.show.terminal import print_trace
from tests.model.towers import random_pair, random_towers
from tests.model.variety import config_of, random_model
from tests.show.traces import Screen, small, wide

NUMBER = r"-?\d[\d.]*(?:e[+-]\d+)?"


def rendered(trace, width=80, **options):
    screen = Screen(width)
    print_trace(trace, screen.console, **options)
    return screen


def rows_after(lines: list[str], title: str) -> list[str]:
    """The lines under the line that is `title`, up to the next empty one."""
    start = lines.index(title) + 1
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return lines[start:end]


@pytest.mark.parametrize("n", [3, 6])
def test_every_number_of_an_attention_map_is_the_traces(n):
    trace = small(n)
    lines = rendered(trace, only="blocks.1.attn.pattern").lines
    for head in range(2):
        rows = rows_after(lines, f"  head {head}")[1 : n + 1]
        for query, row in enumerate(rows):
            result = re.findall(rf"[█▓▒░ ]({NUMBER})(?= |$)", row[9:])
            pattern = trace[f"blocks.1.attn.pattern[head={head},query={query}]"]
            assert result == [number(weight) for weight in pattern[: query + 1].tolist()]
            assert row.count(MASKED * 3) == n - 1 - query


def test_masked_scores_are_marked_and_no_infinity_is_printed_as_a_number():
    lines = rendered(small(4), only="blocks.0.attn.attn_scores").lines
    cells = [line.count(MASKED * 3) for line in rows_after(lines, "  head 0")[1:5]]
    assert cells == [3, 2, 1, 0]
    assert any("masked: a later token, its score is -inf" in line for line in lines)


def test_padding_that_an_encoder_does_not_see_is_called_padding():
    model = random_model(config_of("like bert"), 0)
    trace = model.watch([[1, 2, 3, 4]], seen=[[1, 1, 1, 0]])
    for only, rest in (("attn_scores", ", its score is -inf"), ("pattern", "")):
        lines = rendered(trace, only=f"blocks.0.attn.{only}").lines
        assert f"masked: padding{rest}" in " ".join(" ".join(lines).split()), only
        for row in rows_after(lines, "  head 0")[1:5]:
            assert row.count(MASKED * 3) == 1
            assert row.rstrip().endswith(MASKED * 3)


def test_of_two_towers_the_source_is_told_before_what_is_written():
    ids, _, source = random_pair()
    screen = Screen()
    print_trace(random_towers("like marian").watch(ids, source=source), screen.console)
    printed = re.sub(r"\s+", " ", screen.text)
    assert printed.index("The source is cut into 5 tokens") < printed.index(
        "what is written, 4 tokens"
    )
    [norm] = re.findall(r"encoder.blocks.0.ln1.scale .*?source_pos +mean +variance +scale", printed)
    assert "source_pos 5" in norm  # one table for the three numbers of each token


def test_what_a_sink_takes_and_what_a_window_hides_is_said():
    trace = small(4, attn_sinks=True, windows=(2, 0))
    assert (trace["blocks.0.attn.pattern"].sum(-1) < 0.999).all()
    lines = " ".join(rendered(trace, only="blocks.0.attn.pattern").text.split())
    assert "the sink has the rest." in lines
    assert lines.endswith("masked: a later token or a token outside its window")


def test_every_number_of_a_table_is_the_traces():
    trace = small(5, d_model=4, n_heads=1)
    lines = rendered(trace, only="blocks.0.resid_mid").lines
    start = next(i for i, line in enumerate(lines) if line.split()[:3] == ["pos", "0", "1"])
    for position, line in enumerate(lines[start + 1 : start + 6]):
        values = trace[f"blocks.0.resid_mid[pos={position}]"].tolist()
        assert line.split()[-4:] == [number(value) for value in values]


def test_every_stage_is_told_or_named_as_left_out():
    trace = small(4)
    text = rendered(trace).text
    for step in trace.computed:
        if is_between(step):
            assert step.short in text
        else:
            assert f"{step.name}  [" in text


def test_all_tells_every_stage_with_its_numbers_and_leaves_nothing_out():
    trace = small(18)
    text = rendered(trace, everything=True).text
    assert all(f"{step.name}  [" in text for step in trace.computed)
    assert "left out" not in text
    assert number(trace["blocks.1.mlp.post[pos=17,d_mlp=11]"].item()) in text


@pytest.mark.parametrize(
    "width",
    [60, pytest.param(80, marks=pytest.mark.heavy), pytest.param(120, marks=pytest.mark.heavy)],
)
def test_no_line_is_wider_than_the_terminal(width):
    lines = [*rendered(small(6), width).lines, *rendered(wide(20), width).lines]
    lines += rendered(small(6), width, everything=True).lines
    lines += rendered(wide(20), width, everything=True, only="blocks.0.attn.pattern").lines
    widest = max(lines, key=cell_len)
    assert cell_len(widest) <= width, widest


def test_what_is_left_out_and_what_is_shown_add_up():
    trace = wide(20)
    lines = rendered(trace, only="blocks.0.resid_pre").lines
    header = next(line for line in lines if line.split()[:1] == ["pos"])
    shown = [int(cell) for cell in header.split()[1:] if cell != "…"]
    said = " ".join(line.strip() for line in lines if "left out" in line or "--all" in line)
    gap = re.search(r"d_model (\d+) to (\d+) left out \((\d+) of (\d+)\)", said)
    assert gap is not None
    first, last, missing, n = map(int, gap.groups())
    assert shown == [*range(first), *range(last + 1, n)]
    assert missing + len(shown) == n == 96
    assert "pos 12 to 15 left out (4 of 20)" in said


def test_all_heads_show_the_same_columns_so_that_one_sentence_is_true_of_each():
    lines = rendered(wide(5), only="blocks.1.attn.k").lines
    heads = [line.split()[1:] for line in lines if line.split()[:1] == ["pos"]]
    assert len(heads) == 2
    assert heads[0] == heads[1]
    shown = len(heads[0]) - 1  # the ellipsis
    assert f"({16 - shown} of 16)" in " ".join(lines)


def test_layers_heads_and_tokens_left_out_are_counted():
    text = rendered(wide(20)).text
    assert "layers 1 to 3 left out (3 of 5); --layer 1 shows one, --all shows all" in text
    assert "heads 1 to 4 left out (4 of 6)" in text
    assert "290 of 300 tokens left out, together" in text
    assert "Layer 0 (" in text
    assert "Layer 4 (" in text
    assert "Layer 2 (" not in text


def test_one_layer_is_shown_alone():
    text = rendered(wide(4), layers=[2]).text
    assert "blocks.2.attn.pattern  [" in text
    assert "blocks.0.attn.pattern  [" not in text
    assert "the start, the end and 4 other layers left out" in text


def test_two_layers_are_shown_and_the_count_of_the_others_is_right():
    text = rendered(wide(3), layers=[0, 3]).text
    assert "Layer 0 (" in text
    assert "Layer 3 (" in text
    assert "the start, the end and 3 other layers left out" in text
    assert "layer 1" not in text


def test_a_wide_vocabulary_asked_for_by_name_is_shown_folded():
    trace = wide(3)
    lines = rendered(trace, only="probs").lines
    row = next(line for line in lines if line.split()[:1] == ["0"])
    assert row.split()[2] == number(trace["probs[pos=0,vocab=0]"].item())
    assert any("of 300)" in line for line in lines)


def test_a_layer_that_is_not_there_is_an_error():
    with pytest.raises(GlassformerError, match=r"no layer 7; this model's layers are 0 to 1"):
        rendered(small(), layers=[7])


def test_a_pattern_that_fits_nothing_names_the_nearest():
    with pytest.raises(GlassformerError, match=r"Did you mean 'blocks\.0\.attn\.pattern'"):
        rendered(small(), only="blocks.0.attn.patern")


def test_weights_can_be_shown_by_their_kind():
    trace = small()
    lines = rendered(trace, only="weight/blocks.0.attn.W_Q").lines
    first = trace["weight/blocks.0.attn.W_Q[head=0,d_model=0]"].tolist()
    row = rows_after(lines, "  head 0")[1]
    assert row.split()[1:] == [number(value) for value in first]


def test_a_value_that_was_not_kept_is_said_to_be_so():
    trace = small()
    trace.nodes["fwd/blocks.0.attn.q"].value = None
    assert "value not kept" in rendered(trace, only="blocks.0.attn.q").text


def test_piped_output_has_no_escape_codes_even_where_a_token_has():
    text = rendered(small(6)).text
    assert "\x1b" not in text
    assert r"\x1b[31m" in text
    assert "\u202e" not in text


def test_a_terminal_gets_color_and_the_same_text():
    trace, screen = small(4), Screen(80, color=True)
    print_trace(trace, screen.console)
    assert "\x1b[" in screen.text
    assert re.sub(r"\x1b\[[\d;]*m", "", screen.text) == rendered(trace).text


def test_no_color_is_honored(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(80, color=True)
    screen.console.no_color = True
    print_trace(small(4), screen.console)
    assert not re.search(r"\x1b\[[\d;]*(3[0-9]|38;5;\d+)m", screen.text)


def test_an_ascii_terminal_gets_ascii_only_and_the_shades_as_a_ramp():
    screen = Screen(80, encoding="ascii")
    print_trace(small(6), screen.console)
    assert screen.text.isascii()
    assert ". 0.05 or more  : 0.25 or more  * 0.5 or more  # 0.75 or more" in screen.text
    assert max(map(len, screen.lines)) <= 80


def test_the_prediction_is_the_most_probable_token_and_its_probability():
    trace = small(5)
    probs = trace["probs"][-1]
    best = int(probs.argmax())
    lines = rendered(trace).lines
    row = next(line for line in lines if re.match(r" +1  ", line) and "█" in line)
    assert int(row.split()[-4]) == best
    assert row.split()[-2] == number(probs[best].item())


def test_a_trace_with_targets_tells_its_loss():
    trace = small(4, targets=True)
    lines = rendered(trace).lines
    start = next(i for i, line in enumerate(lines) if line.startswith("loss  ["))
    assert number(trace["loss"].item()) in " ".join(lines[start : start + 8]).split()
    assert "The prediction: " in "\n".join(lines)


def test_of_two_texts_the_first_is_shown_and_that_is_said():
    trace = small(4, batch=2)
    lines = rendered(trace, only="blocks.0.resid_mid").lines
    first = trace["blocks.0.resid_mid[batch=0,pos=0]"].tolist()
    row = next(line for line in lines if line.strip().startswith("0 the"))
    assert row.split()[2] == number(first[0])
    assert any("only text 0 of 2 is shown" in line for line in lines)


def test_a_formula_is_printed_once():
    text = rendered(small(4)).text
    assert text.count("scores_raw[batch, head, query, key] = sum(d_head") == 1
    assert text.count("Each query is dotted with each key") == 2


def test_models_without_norms_heads_or_positions_are_told_too():
    text = rendered(
        small(1, n_heads=1, norm_position="none", final_norm=False, position="none")
    ).text
    assert "The prediction: " in text
    assert "Norm" not in text
