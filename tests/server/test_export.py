"""An exported page holds what the server would show, and needs nothing else."""

import base64
import gzip
import json

import pytest
import torch
from safetensors.torch import load as read_safetensors

from glassformer.errors import GlassformerError
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.server.export import export
from glassformer.server.page import template
from glassformer.server.record import TraceOptions, record
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import open_train_state
from tests.server.served import PROMPT, client, data_block
from tests.server.test_page import BREAKOUT
from tests.server.test_runs import STEPS, trained


def unpacked(packed: str) -> bytes:
    return gzip.decompress(base64.b64decode(packed))


def tensors_of(trace: dict) -> dict[str, torch.Tensor]:
    """The values that a page holds of a trace, by path."""
    return read_safetensors(unpacked(trace["values"]))


def exported(tmp_path, run: str, prompt: str, **options) -> dict:
    export(run, prompt, tmp_path / "page.html", **options)
    return data_block((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_the_page_holds_the_whole_trace(tmp_path):
    data = exported(tmp_path, "miniature", PROMPT, target="mat")
    (trace,) = data["traces"]
    tensors = tensors_of(trace)
    expected = record(open_train_state("miniature"), TraceOptions(PROMPT, "mat")).trace
    for node in expected.nodes.values():
        assert torch.equal(tensors[node.path], expected.value_of(node))
    table = json.loads(unpacked(trace["table"]))
    assert [node["address"] for node in table["nodes"]] == [
        *(leaf.path for leaf in expected.leaves),
        *(node.path for node in expected.computed),
    ]
    assert (trace["about"]["backward"], trace["about"]["optimizer"]) == (True, True)


def test_the_page_holds_what_the_api_answers(tmp_path):
    data = exported(tmp_path, "miniature", PROMPT)
    server = client("miniature")
    assert data["runs"] == [server.get("/api/runs/miniature").json()]
    assert data["metrics"] == {"miniature": server.get("/api/runs/miniature/metrics").json()}
    text = server.post("/api/tokenize", json={"run": "miniature", "text": PROMPT}).json()
    assert data["texts"] == {"miniature": [text]}


def test_a_runs_page_holds_its_snapshots_at_most_eight(tmp_path, monkeypatch):
    data = exported(tmp_path, str(trained()), "the cat sat")
    steps = [trace["about"]["at_step"] for trace in data["traces"]]
    assert steps == [None, 0, 1, 2, 4, 8, STEPS]
    assert not any(trace["about"]["backward"] for trace in data["traces"][1:])
    for trace in data["traces"][1:]:
        W_E = tensors_of(trace)["weight/embed.W_E"]
        learner = open_train_state(str(trained()), trace["about"]["at_step"])
        assert torch.equal(W_E, learner.model.embed.W_E)
    monkeypatch.setattr("glassformer.server.export.SNAPSHOTS", 3)
    data = exported(tmp_path, str(trained()), "the cat sat")
    assert [t["about"]["at_step"] for t in data["traces"]] == [None, 0, 2, STEPS]
    monkeypatch.setattr("glassformer.server.export.SNAPSHOT_BYTES", 1000)
    assert len(exported(tmp_path, str(trained()), "the cat sat")["traces"]) == 1


def test_the_page_can_be_of_an_earlier_step(tmp_path):
    data = exported(tmp_path, str(trained()), "the cat sat", at_step=3)
    assert data["traces"][0]["about"]["at_step"] == 3


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
    assert data["traces"][0]["about"]["prompt"] == BREAKOUT
    assert "".join(data["traces"][0]["about"]["tokens"]) == BREAKOUT
    assert html.count("<") == template().count("<") + 1  # the policy's tag


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
