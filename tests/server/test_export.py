"""An exported page holds what the server would show, and needs nothing else."""

import base64
import gzip
import json
import math

import pytest
import tokenizers
import torch
from safetensors.torch import load as read_safetensors

from glassformer.errors import GlassformerError
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.server.page import holding, sealed, template
from glassformer.server.past import rounded
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.server.seedling import seedling
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import open_train_state
from tests.pages import export
from tests.server.served import PROMPT, client, data_block
from tests.server.test_page import BREAKOUT
from tests.server.test_runs import STEPS, trained


def unpacked(packed: str) -> bytes:
    return gzip.decompress(base64.b85decode(packed.translate(str.maketrans(",.", "<&"))))


def tensors_of(trace: dict) -> dict[str, torch.Tensor]:
    """The values that a page holds of a trace, by path."""
    return read_safetensors(unpacked(trace["values"]))


def exported(tmp_path, run: str, prompt: str, **options) -> dict:
    export(run, prompt, tmp_path / "page.html", **options)
    return data_block((tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.fixture
def recorded(monkeypatch):
    """Pages hold recorded numbers, as if every model were too large for a browser."""
    monkeypatch.setattr("glassformer.server.runnable.MODEL_BYTES", 0)


def numbers_of(packed: str) -> torch.Tensor:
    """The float32 numbers that lie there byte by byte."""
    planes = torch.frombuffer(bytearray(unpacked(packed)), dtype=torch.uint8)
    return planes.view(4, -1).T.contiguous().view(torch.float32).flatten()


def test_the_page_of_a_model_holds_its_plan_its_weights_and_its_tokenizer(tmp_path):
    data = exported(tmp_path, str(trained()), "the cat sat", target="on")
    state = open_train_state(str(trained()))
    assert data["traces"] == []
    assert data["first"] == {
        "run": data["runs"][0]["id"],
        "prompt": "the cat sat",
        "target": "on",
        "at_step": None,
    }
    (model,) = data["models"].values()
    assert (model["done"], model["tokenizer"]) == (STEPS, state.tokenizer.content)
    plan = json.loads(unpacked(model["plan"]))
    addresses = [node["address"] for node in plan["nodes"] if node["op"] is None]
    weights = state.model.weights()
    assert addresses[: len(weights)] == [f"weight/{name}" for name in weights]
    moments = [a for a in addresses if a.endswith((".m_prev", ".v_prev"))]
    stored = numbers_of(model["stored"])
    flat = torch.cat([weight.flatten() for weight in weights.values()])
    assert torch.equal(stored[: len(flat)], flat)
    sizes = {n["address"]: math.prod(n["shape"]) for n in plan["nodes"] if n["address"] in moments}
    assert len(stored) == len(flat) + sum(sizes.values())
    assert stored[len(flat) :].abs().sum() > 0  # the optimizer's state, not zeros


def integers(packed: str) -> torch.Tensor:
    """Differences on a grid, whose words are 0, 1, 2, 3, ... for 0, -1, 1, -2, ..."""
    words = numbers_of(packed).view(torch.int32).double()
    return torch.where(words % 2 == 1, -(words + 1) / 2, words / 2)


def test_a_runs_page_holds_as_many_snapshots_as_have_room_or_were_asked_for(tmp_path, monkeypatch):
    def steps(**options) -> list[str]:
        (model,) = exported(tmp_path, str(trained()), "the cat sat", **options)["models"].values()
        return list((model["snapshots"] or {"steps": {}})["steps"])

    assert steps() == ["0", "1", "2", "4", "8"]
    assert steps(snapshots=3) == ["0", "2", "8"]
    monkeypatch.setattr("glassformer.server.export.SNAPSHOTS", 2)
    assert steps() == ["0", "8"]
    monkeypatch.setattr("glassformer.server.export.SNAPSHOT_BYTES", 100)
    assert steps() == []
    assert steps(snapshots=9) == ["0", "1", "2", "4", "8"]  # all there are, whatever their size


def test_snapshots_are_differences_on_a_grid_of_a_64th_of_a_tensors_spread_and_say_what_that_moves(
    tmp_path,
):
    (model,) = exported(tmp_path, str(trained()), "the cat sat")["models"].values()
    snapshots = model["snapshots"]
    final = open_train_state(str(trained())).model.weights()
    grids = dict(zip(final, snapshots["grids"], strict=True))
    for name, weight in final.items():
        spread = weight.std(correction=0).item() or weight.abs().max().item()
        assert grids[name] <= spread / 64
    codes = torch.cat(
        [rounded(w, grids[name]).flatten() / grids[name] for name, w in final.items()]
    )
    for step, packed in reversed(snapshots["steps"].items()):
        codes = codes + integers(packed)
        weights = open_train_state(str(trained()), int(step)).model.weights()
        sizes = torch.cat([torch.full((w.numel(),), grids[name]) for name, w in weights.items()])
        exact = torch.cat([w.flatten().double() for w in weights.values()])
        assert ((codes * sizes - exact).abs() <= sizes / 2).all()
    assert 0 < snapshots["moved"] < 0.01


@pytest.mark.parametrize(
    "tokenizer",
    [
        tokenizers.Tokenizer(tokenizers.models.Unigram([("<unk>", 0.0), ("the", -1.0)], 0)),
        tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "the": 1})),
    ],
)
def test_of_a_model_that_the_page_can_not_run_it_holds_a_recorded_trace(tmp_path, tokenizer):
    model = Decoder(Config(vocab_size=2, n_ctx=8, d_model=4, n_layers=1, n_heads=1))
    save(model, Tokenizer(tokenizer), tmp_path / "model")
    data = exported(tmp_path, str(tmp_path / "model"), "the")
    assert data["models"] == {}
    assert data["traces"][0]["about"]["prompt"] == "the"


@pytest.mark.usefixtures("recorded")
def test_the_page_holds_the_whole_trace(tmp_path):
    data = exported(tmp_path, "miniature", PROMPT, target="mat")
    (trace,) = data["traces"]
    tensors = tensors_of(trace)
    expected = record(
        open_train_state("miniature"), TraceOptions(prompt=PROMPT, target="mat")
    ).trace
    for node in expected.nodes.values():
        assert torch.equal(tensors[node.path], expected.value_of(node))
    table = json.loads(unpacked(trace["table"]))
    assert [node["address"] for node in table["nodes"]] == [
        *(leaf.path for leaf in expected.leaves),
        *(node.path for node in expected.computed),
    ]
    assert (trace["about"]["backward"], trace["about"]["optimizer"]) == (True, True)


@pytest.mark.usefixtures("recorded")
def test_the_page_holds_what_the_api_answers(tmp_path):
    data = exported(tmp_path, "miniature", PROMPT)
    server = client("miniature")
    assert data["runs"] == [server.get("/api/runs/miniature").json()]
    metrics = json.loads(unpacked(data["metrics"]["miniature"]))
    assert metrics == server.get("/api/runs/miniature/metrics").json()
    text = server.post("/api/tokenize", json={"run": "miniature", "text": PROMPT}).json()
    assert data["texts"] == {"miniature": [text]}


@pytest.mark.usefixtures("recorded")
def test_a_recorded_page_holds_a_pass_of_its_snapshots_at_most_eight(tmp_path, monkeypatch):
    data = exported(tmp_path, str(trained()), "the cat sat")
    steps = [trace["about"]["at_step"] for trace in data["traces"]]
    assert steps == [None, 0, 1, 2, 4, 8, STEPS]
    assert not any(trace["about"]["backward"] for trace in data["traces"][1:])
    for trace in data["traces"][1:]:
        W_E = tensors_of(trace)["weight/embed.W_E"]
        state = open_train_state(str(trained()), trace["about"]["at_step"])
        assert torch.equal(W_E, state.model.embed.W_E)
    monkeypatch.setattr("glassformer.server.export.SNAPSHOTS", 3)
    data = exported(tmp_path, str(trained()), "the cat sat")
    assert [t["about"]["at_step"] for t in data["traces"]] == [None, 0, 2, STEPS]
    monkeypatch.setattr("glassformer.server.export.SNAPSHOT_BYTES", 1000)
    assert len(exported(tmp_path, str(trained()), "the cat sat")["traces"]) == 1


def test_the_page_can_be_of_an_earlier_step(tmp_path):
    data = exported(tmp_path, str(trained()), "the cat sat", at_step=3)
    assert data["first"]["at_step"] == 3
    (model,) = data["models"].values()
    weights = open_train_state(str(trained()), 3).model.weights().values()
    flat = torch.cat([weight.flatten() for weight in weights])
    assert model["done"] == 3
    assert torch.equal(numbers_of(model["stored"])[: len(flat)], flat)


@pytest.mark.usefixtures("recorded")
def test_what_is_too_large_for_one_file_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("glassformer.server.export.VALUE_BYTES", 10_000)
    about = exported(tmp_path, "miniature", PROMPT)["traces"][0]["about"]
    assert (about["backward"], about["optimizer"]) == (True, False)


def test_a_page_that_would_be_too_large_is_refused_before_anything_is_recorded(
    tmp_path, monkeypatch
):
    def recorded(*_: object) -> None:
        raise AssertionError("nothing is to be recorded")

    monkeypatch.setattr("glassformer.server.export.LiveTrace", recorded)
    tokenizer = Tokenizer.from_words(["the", "cat"])
    # 64 MB in the table of positions alone
    model = Decoder(Config(vocab_size=2, n_ctx=100_000, d_model=160, n_layers=1, n_heads=1))
    save(model, tokenizer, tmp_path / "wide")
    with pytest.raises(
        GlassformerError, match=r"about 65 MB .* at most 60 MB; .*`glassformer serve`"
    ):
        export(str(tmp_path / "wide"), "the cat", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_page_names_the_run_but_not_its_authors_folders(tmp_path):
    data = exported(tmp_path, str(trained()), "the cat sat")
    assert data["runs"][0]["path"] == trained().name
    assert str(trained().parent) not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_names_and_tokens_cannot_end_the_data_block(tmp_path):
    folder = tmp_path / "<script>alert(1)<!--"
    tokenizer = Tokenizer.train("bpe", [BREAKOUT], vocab_size=270)
    size = tokenizer.vocab_size
    model = Decoder(Config(vocab_size=size, n_ctx=64, d_model=4, n_layers=1, n_heads=1))
    save(model, tokenizer, folder)
    export(str(folder), BREAKOUT, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = data_block(html)
    assert data["runs"][0]["name"] == folder.name
    assert data["first"]["prompt"] == BREAKOUT
    (model,) = data["models"].values()
    assert model["tokenizer"] == tokenizer.content
    assert html.count("<") == sealed(holding(template(), "look", "run")).count("<")


def test_the_page_asks_for_nothing_from_outside(tmp_path):
    export("miniature", PROMPT, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert 'src="http' not in html
    assert 'href="http' not in html


def test_an_error_leaves_no_file(tmp_path):
    with pytest.raises(GlassformerError, match="shorten it"):
        export("miniature", "the " * 9, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_an_axis_of_a_seedling_has_another_size_than_its_vocabulary():
    model = seedling().model
    nodes = json.loads(unpacked(model.plan))["nodes"]
    size = seedling().run.vocab_size
    axes = [(a, n) for node in nodes for a, n in zip(node["axes"], node["shape"], strict=True)]
    assert {axis for axis, n in axes if n == size} == {"vocab"}
    assert {n for axis, n in axes if axis == "vocab"} == {size}
    assert not any(size in node["params"].values() for node in nodes)
    assert len(seedling().deviations) == sum(a["address"].startswith("weight/") for a in nodes)
