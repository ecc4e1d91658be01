"""The notebook's views: self-contained, escaped, and in numbers that are the trace's."""

import base64
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from glassformer.formula.spelling import number
from glassformer.metrics import Row
from glassformer.rendering import RENDERERS
from glassformer.show.html import STRONGEST, png
from glassformer.show.notebook import run_html, trace_html
from tests.show.traces import WORDS, small, wide

VOID = {"img"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that elements are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


ADDRESS = "blocks.1.attn.q[pos=3,head=1,d_head=2]"


def test_tokens_that_are_html_are_escaped():
    trace = small(len(WORDS))
    trace.labels = {"pos": ["<script>alert(1)</script>"] * 10, "vocab": ['"><img src=x>'] * 12}
    for source in (trace_html(trace), trace.explain("probs[pos=2,vocab=3]")._repr_html_()):
        assert "script" not in Reader(source).tags
        assert "<img src=x>" not in source
        assert "&lt;script&gt;" in source


@pytest.mark.parametrize("n", [4, 20])
def test_nothing_is_fetched_from_outside(n: int):
    trace = wide(n)
    for source in (trace_html(trace), trace.explain(ADDRESS)._repr_html_()):
        links = [v or "" for k, v in Reader(source).attributes if k in ("src", "href", "srcset")]
        assert all(link.startswith("data:image/png;base64,") for link in links)
        assert "http" not in source
        assert "url(" not in source
        assert "@import" not in source


def test_colors_let_the_pages_own_text_and_background_through():
    source = trace_html(small(4))
    assert "background: white" not in source
    strengths = [float(strength) for strength in re.findall(r"--s:([\d.]+)", source)]
    assert max(strengths) == STRONGEST  # dark or light text stays readable over it


def test_attention_is_shown_in_the_traces_numbers_and_masked_cells_are_hatched():
    trace = small(4)
    source = trace_html(trace)
    for weight in trace["blocks.0.attn.pattern[head=1,query=3]"].tolist():
        assert f">{number(weight)}</td>" in source
    assert source.count('class="masked"') >= 2 * 2 * 6  # layers, heads, later tokens


def test_a_long_attention_map_is_a_picture_of_its_weights():
    trace = wide(20)
    source = trace_html(trace)
    first = re.search(r"data:image/png;base64,([^\"]+)", source)
    assert first is not None
    file = base64.b64decode(first[1])
    assert struct.unpack(">II", file[16:24]) == (20, 20)
    length = struct.unpack(">I", file[33:37])[0]
    rows = np.frombuffer(zlib.decompress(file[41 : 41 + length]), np.uint8).reshape(20, 81)
    opacity = rows[:, 4::4]
    weights = trace["blocks.0.attn.pattern[head=0]"].numpy()
    assert np.array_equal(opacity, np.round(weights * 255))


def test_png_is_what_other_readers_read(tmp_path):
    import matplotlib.image

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels))
    assert np.array_equal(np.round(matplotlib.image.imread(tmp_path / "a.png") * 255), pixels)


def test_what_a_trace_leaves_out_is_said():
    text = " ".join(Reader(trace_html(wide(20))).text)
    assert "layers 1 to 3 left out (3 of 5)" in text
    assert "d_model 8 to 93 left out (86 of 96)" in text
    assert "290 of 300 tokens left out" in text


def test_a_trace_takes_at_most_300_kb_of_a_notebook_and_explains_its_most_probable_token():
    trace = wide(20)
    source = trace_html(trace)
    assert len(source.encode()) <= 300_000
    best = int(trace["probs[pos=19]"].argmax())
    text = " ".join(Reader(source).text)
    for name in ("probs", "logits"):
        explanation = trace.explain(f"{name}[pos=19,vocab={best}]")
        assert explanation.arithmetic in text
        assert repr(explanation.recomputed) in text


def test_an_explanation_shows_formula_operands_and_verdict():
    explanation = small(5).explain(ADDRESS)
    text = " ".join(Reader(explanation._repr_html_()).text)
    assert explanation.formula in text
    assert repr(explanation.value) in text
    assert "agrees" in text
    assert "weight/blocks.1.attn.W_Q[head=1,d_model=7,d_head=2]" in text
    assert explanation.terms[-1].running in text


def test_a_leaf_and_a_masked_cell_show_themselves():
    trace = small(4)
    assert (
        "A trained parameter" in trace.explain("weight/embed.W_E[vocab=0,d_model=0]")._repr_html_()
    )
    masked = trace.explain("blocks.0.attn.attn_scores[head=0,query=0,key=2]")
    assert "-inf" in masked._repr_html_()


def test_a_trace_of_sixty_tokens_stays_small():
    assert len(wide(60)._repr_html_()) < 1_000_000  # what a notebook file carries for each output


def test_views_are_found_by_name_and_the_package_does_not_load_them_early():
    assert set(RENDERERS) == {"Trace", "Explanation", "PastRun"}
    program = "import glassformer.trace, sys; assert 'glassformer.show' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_run_shows_its_losses_and_what_it_wrote():
    rows: list[Row] = [
        {"step": 0, "val_loss": 5.25, "floor": 0.5},
        {"step": 1, "loss": 5.125},
        {"step": 2, "loss": 4.75},
        {"step": 2, "val_loss": 4.5, "floor": 0.5},
        {"step": 2, "sample": "the <b>cat</b>"},
    ]
    read = Reader(run_html("small", rows, 9))
    text = " ".join(read.text)
    assert "Run small" in text
    assert "2 of 9 steps" in text
    assert ["training", "2", number(4.75)] == read.text[read.text.index("training") :][:3]
    assert ["held out", "2", number(4.5)] == read.text[read.text.index("held out") :][:3]
    assert "the <b>cat</b>" in text
    assert "b" not in read.tags
    assert any((value or "").startswith("data:image/png") for _, value in read.attributes)


def test_a_run_before_its_first_step_says_so():
    text = " ".join(Reader(run_html("new", [{"step": 0, "uniform_loss": 5.1}], 9)).text)
    assert "No step was made yet" in text
