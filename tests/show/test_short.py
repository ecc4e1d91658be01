"""The short form of a trace: five sections, the trace's own numbers, at most 60 lines."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

import glassformer as gf
from glassformer.show.short import SCREEN, print_short
from glassformer.show.values import array
from glassformer.trace import Trace
from tests.model.variety import config_of, random_ids, random_model

SECTIONS = ("TOKENIZATION", "EMBEDDINGS", "LAYER 0", "OUTPUT HEAD", "Predicted next token: ")


def lines_of(trace: Trace, width: int = 80) -> list[str]:
    file = io.StringIO()
    print_short(trace, Console(file=file, width=width, highlight=False))
    return file.getvalue().splitlines()


@pytest.mark.parametrize(("layers", "heads", "n"), [(1, 1, 2), (2, 4, 30), (7, 2, 48)])
def test_it_fits_on_a_screen_whatever_the_size(layers, heads, n):
    config = gf.Config(vocab_size=300, n_ctx=48, d_model=32, n_layers=layers, n_heads=heads)
    model = gf.Decoder(config)
    lines = lines_of(model.watch(torch.arange(n)[None]))
    assert len(lines) <= SCREEN - 3  # what `trace` says below it
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    indices = [text.index(section) for section in SECTIONS]
    assert indices == sorted(indices)
    if layers == 7:
        assert "layers 1 to 5 left out (5 of 7)" in text
    if heads > 1:
        assert f"of {heads})" in text  # the heads that are left out are said


def test_its_numbers_are_the_traces_own():
    model, _ = gf.load("worked_example")
    trace = model.watch("the cat sat on")
    lines = lines_of(trace)
    begin = next(i for i, line in enumerate(lines) if "Attention weights" in line) + 1
    shown = [[float(x) for x in line.split()[2:]] for line in lines[begin : begin + 4]]
    pattern = array(trace, trace.nodes["fwd/blocks.0.attn.pattern"])[0, 0]
    assert np.allclose(shown, pattern, rtol=0, atol=0.0005)  # rounded to three places
    best = int(trace["fwd/probs"][-1].argmax())
    assert lines[-2].strip() == f"Predicted next token: {trace.labels['vocab'][best]}"


def test_of_experts_each_tokens_own_are_told_with_their_weights():
    model = random_model(config_of("like gpt-oss"), 0)
    trace = model.watch(random_ids(model.config, 0, batch=1))
    lines = lines_of(trace)
    (title,) = [i for i, line in enumerate(lines) if "Experts, 3 of 5 for each token" in line]
    weights = trace["blocks.1.mlp.expert_weights"][0]
    best = weights.argsort(descending=True)[:3].tolist()
    printed = "  ".join(f"{expert}: {weights[expert]:.3f}" for expert in best)
    assert lines[title + 1].endswith(printed)
    assert len(lines) <= SCREEN
