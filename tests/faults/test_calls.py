"""Public functions that are given what can't be: one sentence with the cause and what to do."""

import os
import sys
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

import glassformer as gf
from glassformer.checked import COUNT, whole
from glassformer.cli.eval import command as evaluating
from glassformer.cli.streams import open_closed_streams, say
from glassformer.errors import GlassformerError
from glassformer.generation.defaults import start_ids
from glassformer.training.masking import SHARE

TEXT = "the cat sat on"
NOTHING: Any = lambda value: None  # noqa: E731 (what a user may write)


@pytest.fixture(scope="module")
def model():
    return gf.load("worked_example")[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: gf.watch_step(m, TEXT, lr=-1.0), "lr=-1 is negative: it would climb"),
        (lambda m: gf.watch_step(m, TEXT, lr=nan), "lr=nan is not a number"),
        (lambda m: gf.watch_step(m, TEXT, lr=inf), "lr=inf must be finite"),
        (lambda m: gf.watch_step(m, TEXT, t=0), "t=0 is no step; the first is 1"),
        (lambda m: gf.lab.neighbors(m, "cat", n=-1), "n=-1 is negative; give 0 or more"),
        (lambda m: gf.lab.analogy(m, "cat", "dog", "mat", n=-1), "n=-1 is negative"),
        (lambda m: gf.lab.lens(m, TEXT)[0].best(n=-1), "n=-1 is negative"),
        (lambda m: gf.lab.ablate(m, TEXT, heads=[(0, 0)]).next_tokens(-1), "n=-1 is negative"),
        (lambda m: gf.generate(m, [0], max_new_tokens=-1), "max_new_tokens=-1 is negative"),
        (
            lambda m: gf.load("worked_example", device="gpu"),
            "device='gpu' is none of this machine's",
        ),
        (lambda m: gf.load("worked_example", torch.int8), "dtype=torch.int8 holds no weights"),
        (lambda m: gf.load(""), "the model's name is empty"),
        (lambda m: m.watch(TEXT).save("/dev/null"), "/dev/null is no folder; name a new one"),
        (lambda m: m.watch(TEXT, keep="logit"), "keep='logit': no value .* Did you mean 'logits'?"),
        (lambda m: gf.lab.edit(m, TEXT, {"blocks.0.attn.z": NOTHING}), "can't become None"),
    ],
)
def test_what_can_not_be_is_refused_with_its_cause(model, call, said):
    with pytest.raises(GlassformerError, match=said):
        call(model)


@pytest.mark.parametrize("value", [1.5, "3", None, [2]])
def test_a_count_is_a_whole_number(value):
    with pytest.raises(GlassformerError, match=r"max_new_tokens=.* must be a whole number"):
        whole("max_new_tokens", value, COUNT)


def test_minus_infinity_set_by_hand_is_not_called_masked(model):
    trace = model.watch(TEXT, edit={"logits[pos=3,vocab=4]": -inf})
    assert trace.explain("logits[pos=3,vocab=4]").flags == ["edited: this number was set by hand"]
    masked = trace.explain("blocks.0.attn.attn_scores[head=0,query=0,key=1]")
    assert masked.flags[0].startswith("masked: this query may not look at this key")


def test_after_no_text_a_model_goes_on_from_its_end_mark():
    tokenizer = gf.Tokenizer.train("words", [TEXT])
    assert start_ids(tokenizer, "") == [tokenizer.eos_id]
    assert start_ids(tokenizer, "cat") == tokenizer.encode_prompt("cat")


def test_the_help_of_eval_names_the_share_of_tokens_that_is_hidden():
    assert f"{SHARE:.0%} of the tokens are hidden" in str(evaluating.__doc__)


def test_a_closed_standard_stream_leads_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_closed_streams()
    say("to nobody")
    say("to nobody", error=True)
    assert sys.stdin.read() == ""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        assert os.fstat(stream.fileno()).st_rdev == Path(os.devnull).stat().st_rdev
        stream.close()
