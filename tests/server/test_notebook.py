"""A trace of one's own, as a notebook shows it: the page about it, with what the page reads."""

import html
import re
from typing import Any

import pytest
import torch

import glassformer as gf
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.server.notebook import trace_html
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace
from glassformer.training.train_state import open_train_state
from tests.server.served import data_block
from tests.server.test_export import tensors_of


@pytest.fixture(autouse=True)
def built(monkeypatch):
    monkeypatch.setattr("glassformer.server.notebook.is_built", lambda: True)


def shown(trace: Trace) -> dict[str, Any]:
    """The data of the page in the frame."""
    result = re.search(r"srcdoc='([^']*)'", gf.page(trace)._repr_html_())
    assert result
    return data_block(html.unescape(result[1]))


def with_targets(**options: Any) -> Trace:
    ids = torch.tensor([[0, 1, 2]])
    targets = torch.tensor([[1, 2, 3]])
    return open_train_state("miniature").model.watch(ids, targets, **options)


def test_a_trace_with_targets_is_shown_with_its_probabilities_and_stays_as_it_was():
    trace = with_targets(backward=True)
    before = list(trace.nodes)
    assert "fwd/probs" not in before
    (page,) = shown(trace)["traces"]
    (probs,) = tensors_of(page)["fwd/probs"]
    expected = torch.softmax(trace["fwd/logits"], dim=-1)
    torch.testing.assert_close(probs, expected)
    assert list(trace.nodes) == before
    assert not any(step.path == "fwd/probs" for step, _ in trace.consumers("fwd/logits_sum"))


def test_a_trace_without_what_the_page_reads_is_a_table():
    trace = with_targets(keep="*.resid_*,logits")
    assert "<iframe" not in trace_html(trace)


def test_a_prompt_of_words_is_written_with_spaces_between_them():
    about = shown(gf.watch("miniature", "the cat sat"))["traces"][0]["about"]
    assert about["prompt"] == "the cat sat"


@pytest.mark.parametrize("prompt", ["the cat sat on  the mat", "theca"])
def test_a_prompt_of_parts_of_words_is_written_as_it_was(tmp_path, prompt):
    tokenizer = Tokenizer.train("bpe", ["the cat sat on the mat " * 9], vocab_size=270)
    size = tokenizer.vocab_size
    model = Decoder(Config(vocab_size=size, n_ctx=32, d_model=4, n_layers=1, n_heads=1))
    save(model, tokenizer, tmp_path / "parts")
    about = shown(gf.watch(str(tmp_path / "parts"), prompt))["traces"][0]["about"]
    assert about["prompt"] == prompt
