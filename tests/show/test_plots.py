"""The pictures: they exist, say what the trace says, and spell tokens as they are."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from glassformer.errors import GlassformerError
from glassformer.metrics import Row
from glassformer.model import EncoderDecoder, TowersConfig
from glassformer.show.plots import attention, experts
from glassformer.show.plots.all import draw_all
from glassformer.show.plots.embeddings import draw_embeddings, principal_plane
from glassformer.show.plots.experts import draw_experts
from glassformer.show.plots.loss import draw_loss
from glassformer.show.plots.prediction import draw_next_token
from glassformer.show.plots.style import drawable, new_figure, write
from glassformer.show.plots.translation import draw_alignment, draw_crossing
from glassformer.text.tokenizer import Tokenizer
from tests.model.variety import config_of, random_ids, random_model
from tests.show.traces import WORDS, small, wide

ROWS: list[Row] = [
    {"step": 0, "uniform_loss": 2.48, "unigram_loss": 2.2},
    *({"step": step, "loss": 2.5 / step} for step in range(1, 101)),
    {"step": 100, "val_loss": 0.6, "floor": 0.5},
]


def ticks(labels):
    return [label.get_text() for label in labels]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_every_picture_is_written_and_not_empty(tmp_path: Path, suffix: str):
    files = draw_all(small(4), tmp_path, ROWS, suffix)
    names = ["next-token", "attention", "attention-layer-0", "attention-layer-1"]
    assert [file.stem for file in files] == [*names, "embeddings", "loss"]
    for file in files:
        if suffix == "png":
            pixels = matplotlib.image.imread(file)
            assert min(pixels.shape[:2]) > 300
            assert np.unique(pixels).size > 10
        else:
            assert "</svg>" in file.read_text()


def test_an_alignment_has_the_source_on_top_and_each_written_word_at_the_side(tmp_path: Path):
    tokenizer = Tokenizer.of_sentences(["the black cat", "le chat noir"])
    tower = config_of("post-norm").replace(vocab_size=tokenizer.vocab_size)
    config = TowersConfig(encoder=tower.replace(causal=False), decoder=tower, start_id=1)
    model = EncoderDecoder(config, torch.Generator().manual_seed(0)).eval()
    model.tokenizer = tokenizer
    written = tokenizer.encode("le chat noir")
    trace = model.watch([[1, *written]], source="the black cat")
    for figure in (draw_alignment(trace), draw_crossing(trace, 0)):
        axes = figure.axes[0]
        assert ticks(axes.get_xticklabels()) == ["the", "black", "cat", "</s>"]
        assert ticks(axes.get_yticklabels())[:3] == ["le", "chat", "noir"]
    alignment = draw_alignment(trace).axes[0]
    shown = np.asarray(alignment.images[0].get_array())
    layers = [f"decoder.blocks.{i}.cross_attn.pattern" for i in range(tower.n_layers)]
    mean = torch.cat([trace[name].reshape(-1, 4, 4) for name in layers]).double().mean(0)
    np.testing.assert_allclose(shown, mean.numpy(), rtol=1e-12)  # sums in two orders
    assert alignment.texts[0].get_text() == f"{mean[0, 0]:.2f}"
    assert {"alignment", "cross-attention-layer-0"} <= {f.stem for f in draw_all(trace, tmp_path)}


def test_a_picture_is_the_same_bytes_every_time(tmp_path: Path):
    for suffix in ("png", "svg"):
        first, second = (
            write(attention.draw_layer(small(4), 0), tmp_path / f"{i}.{suffix}") for i in (1, 2)
        )
        assert first.read_bytes() == second.read_bytes()


def test_a_picture_that_is_not_written_whole_leaves_the_one_before(tmp_path: Path, monkeypatch):
    def cut(*parts, **_):
        parts[1].write(b"<svg")
        raise KeyboardInterrupt

    path = write(new_figure(1, 1), tmp_path / "loss.svg")
    before = path.read_bytes()
    monkeypatch.setattr(Figure, "savefig", cut)
    with pytest.raises(KeyboardInterrupt):
        write(new_figure(1, 1), path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_no_picture_touches_pyplot():
    import sys

    draw_next_token(small(3))
    assert "matplotlib.pyplot" not in sys.modules


def test_an_attention_map_shows_the_traces_weights_and_hides_masked_ones():
    trace = small(5)
    figure = attention.draw_layer(trace, 1)
    for head in range(2):
        axes = figure.axes[head]
        shown = np.asarray(axes.get_images()[0].get_array())
        assert np.allclose(shown, trace[f"blocks.1.attn.pattern[head={head}]"])
        numbers = [float(text.get_text()) for text in axes.texts]
        assert len(numbers) == 15  # the cells that are not masked
        assert np.allclose(numbers, shown[np.tril_indices(5)], atol=0.005)  # two decimals
        assert axes.collections[0].get_hatch() == "////"


def test_what_a_sink_takes_and_what_a_window_hides_is_said():
    trace = small(4, attn_sinks=True, windows=(2, 0))
    figure = attention.draw_layer(trace, 0)
    assert "a row and its head's sink sum to 1" in figure.axes[-1].get_ylabel()
    assert "a row sums to 1" in attention.draw_layer(small(4), 0).axes[-1].get_ylabel()
    said = attention.draw_overview(trace).get_supxlabel()
    hidden = "a later token or a token outside its window"
    assert said == f"rows look, columns are looked at; gray: {hidden}"


def test_axes_of_an_attention_map_are_the_tokens():
    n = len(WORDS)
    figure = attention.draw_layer(small(n), 0)
    tokens = [drawable(word) for word in WORDS]
    assert ticks(figure.axes[0].get_xticklabels()) == tokens
    assert ticks(figure.axes[0].get_yticklabels()) == tokens
    assert "$x^2$" in tokens
    assert not any(label.get_parse_math() for label in figure.axes[0].get_xticklabels())


def test_tokens_that_would_control_or_lack_a_letter_are_spelled():
    assert drawable("\x1b[31m") == r"\x1b[31m"
    assert drawable("\n") == "⏎"
    assert drawable("日本") == r"\u65e5\u672c"
    assert drawable("\u202e") == r"\u202e"
    assert drawable("é") == "é"


def test_a_long_prompt_names_one_token_in_three_and_says_so():
    figure = attention.draw_layer(wide(60), 0)
    labels = ticks(figure.axes[0].get_yticklabels())
    assert len(labels) == 20
    assert "one token in 3 is named" in figure.get_supxlabel()


def test_the_overview_has_a_place_for_every_layer_and_head():
    axes = attention.draw_overview(wide(6)).axes[0]
    assert ticks(axes.get_xticklabels()) == [str(i) for i in range(6)]
    assert ticks(axes.get_yticklabels()) == [str(i) for i in range(5)]


def test_the_overview_shows_each_weight_once():
    trace = small(4)
    image = attention.draw_overview(trace).axes[0].get_images()[0].get_array()
    shown = np.ma.filled(np.ma.asarray(image), np.nan)
    seen = np.sort(shown[~np.isnan(shown)])
    keep = np.tril_indices(4)
    weights = [trace[f"blocks.{i}.attn.pattern[head={h}]"][keep] for i in (0, 1) for h in (0, 1)]
    assert np.allclose(seen, np.sort(np.concatenate(weights)))


def test_bars_are_the_probabilities_of_the_tokens_beside_them():
    trace = wide(5)
    axes = draw_next_token(trace).axes[0]
    probs = trace["probs[pos=4]"]
    best = probs.topk(10)
    bars = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert np.allclose(bars, best.values)
    words = trace.labels["vocab"]
    assert ticks(axes.get_yticklabels()) == [drawable(words[int(i)]) for i in best.indices]


def test_what_the_bars_leave_out_is_said():
    trace = wide(5)
    left_out = 1 - float(trace["probs[pos=4]"].topk(10).values.sum())
    figure = draw_next_token(trace)
    said = figure.get_supxlabel()
    assert said.startswith("the other 290 tokens together: ")
    assert float(said.rpartition(" ")[2]) == pytest.approx(left_out, rel=0.005)  # three digits


def test_the_loss_curve_shows_loss_floor_and_guesses():
    axes = draw_loss(ROWS).axes[0]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [2.5 / step for step in range(1, 101)]
    legend = axes.get_legend_handles_labels()[1]
    assert axes.get_legend() is not None
    assert legend[1] == "held-out text: 0.600"
    assert legend[2].endswith("any model can do: 0.500")
    assert legend[3].endswith("occurs: 2.200")
    assert legend[4].endswith("nothing: 2.480")


def test_the_running_mean_is_that_of_the_steps_around_and_does_not_lag():
    axes = draw_loss(ROWS).axes[0]
    mean = axes.lines[1]
    assert "mean of 5 steps" in str(mean.get_label())
    x, y = np.asarray(mean.get_xdata()), np.asarray(mean.get_ydata())
    assert x.tolist() == list(range(1, 101))
    assert y[49] == pytest.approx(np.mean([2.5 / step for step in range(48, 53)]))
    assert y[-1] == pytest.approx(np.mean([2.5 / step for step in range(98, 101)]))


def test_the_plane_of_the_map_is_that_of_the_singular_vectors():
    table = np.random.default_rng(0).normal(size=(40, 7))
    at, shares = principal_plane(table)
    u, s, _ = np.linalg.svd(table - table.mean(0), full_matrices=False)
    assert np.allclose(np.abs(at), np.abs(u[:, :2] * s[:2]))
    assert np.allclose(shares, s[:2] ** 2 / (s**2).sum())


def test_names_on_the_embedding_map_do_not_overlap():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw_embeddings(wide(12))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        t.get_window_extent(canvas.get_renderer()) for t in figure.axes[0].texts if t.get_text()
    ]
    assert len(boxes) > 30
    clashes = [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert clashes == []


def test_the_prompts_tokens_are_named_on_the_map():
    trace = small(6)
    named = [text.get_text() for text in draw_embeddings(trace).axes[0].texts]
    assert {drawable(word) for word in trace.labels["pos"]} <= set(named)


def test_another_format_is_refused(tmp_path: Path):
    with pytest.raises(GlassformerError, match=r"neither \.png nor \.svg"):
        write(new_figure(1, 1), tmp_path / "a.gif")


def test_a_panel_shows_which_experts_of_a_layer_each_token_went_to(tmp_path: Path):
    model = random_model(config_of("like gpt-oss"), 0)
    trace = model.watch(random_ids(model.config, 0, batch=1))
    figure = draw_experts(trace, experts.of(trace))
    (panel,) = [axes for axes in figure.axes if axes.get_images()]
    shown = panel.get_images()[0].get_array()
    assert np.array_equal(np.asarray(shown), trace["blocks.1.mlp.expert_weights"].numpy())
    assert panel.get_title() == "layer 1"
    assert (tmp_path / "experts.png") in draw_all(trace, tmp_path)
