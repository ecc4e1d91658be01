"""Folders of every family: theirs here and ours there, logits, gradients and greedy texts."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from glassformer.generation.generate import generate
from glassformer.interop import families
from glassformer.interop.folder import load_folder, save
from glassformer.interop.layouts import parts_of
from glassformer.model import Decoder
from glassformer.ops import IGNORED
from tests.interop.models import random_ids
from tests.parity.families import CASES, FAMILIES, InDouble, model_there

# Relative to the largest number of a tensor: the same sums in other orders.
LOGITS = {torch.float32: 1e-4, torch.float64: 1e-10}
GRADIENTS = 1e-8
SMALLEST = 1e-3  # a gradient that is zero by symmetry, as a key's bias, has no size of its own


@pytest.fixture(scope="module", params=CASES, ids=[f"{name} {i}" for name, i, _ in CASES])
def case(request, tmp_path_factory):
    """A model of `transformers`, the folder it was saved in, and the same model here."""
    model_type, _, settings = request.param
    theirs = model_there(model_type, settings)
    folder = tmp_path_factory.mktemp("family")
    theirs.save_pretrained(folder)
    return theirs, folder, load_folder(folder)[0]


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    size = max(float(theirs.abs().max()), SMALLEST)
    return bool((ours - theirs).abs().max() <= tolerance * size)


def test_every_family_is_tried():
    assert {*families.names()} == {*FAMILIES, "gpt2"}  # test_gpt2_folders


@torch.no_grad()
def test_logits_are_the_same_here(case):
    theirs, folder, ours = case
    ids = random_ids(ours.config)
    with InDouble():
        expected = theirs(ids).logits
    assert close(ours(ids), expected, LOGITS[torch.float64])
    narrow, _ = load_folder(folder, dtype=torch.float32)
    assert close(narrow(ids), deepcopy(theirs).float()(ids).logits, LOGITS[torch.float32])


@torch.no_grad()
def test_saved_here_it_is_the_same_folder_there(case, tmp_path):
    """In its own family's form, and bit for bit."""
    theirs, _, ours = case
    save(ours, None, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == theirs.config.model_type
    ids = random_ids(ours.config)
    with InDouble():
        back: Any = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        assert close(back(ids).logits, theirs(ids).logits, LOGITS[torch.float64])
    again, _ = load_folder(tmp_path)
    assert again.config == ours.config
    assert all(torch.equal(again.weights()[n], w) for n, w in ours.weights().items())
    del written["glassformer"]  # as another program would write it
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert torch.equal(load_folder(tmp_path)[0](ids), ours(ids))


def gradients(model: Decoder, ids: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The gradient of every tensor, named and laid out as the family does."""
    model.zero_grad()
    model.loss(ids, targets).backward()
    stored = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    parts = parts_of(stored, model.config)
    family = families.family(model.said.model_type)
    return {
        tensor.name: tensor.layout.write([parts[part] for part in tensor.parts])
        for tensor in family.tensors(model.config)
    }


def test_gradients_of_all_weights_are_the_same(case):
    theirs, _, ours = case
    ids, targets = random_ids(ours.config), random_ids(ours.config, seed=1)
    theirs.zero_grad()
    with InDouble():
        logits = theirs(ids).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    found = gradients(ours, ids, targets)
    expected = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert close(found[name], gradient, GRADIENTS), name


def test_greedy_texts_are_the_same(case):
    """With a cache and without."""
    theirs, _, ours = case
    prompt = random_ids(ours.config)[:1, :5]
    n = ours.config.n_ctx - 5
    wanted = {"max_new_tokens": n, "do_sample": False, "pad_token_id": 0}
    with InDouble():
        expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **wanted)
    expected = expected[0, 5:].tolist()
    for use_cache in (True, False):
        text = generate(ours, prompt, max_new_tokens=n, temperature=0, use_cache=use_cache)
        assert list(text) == expected


def test_random_values_and_gradients_are_explained_by_their_arithmetic(case):
    _, _, ours = case
    ids = random_ids(ours.config, batch=1)[:, :7]
    targets = random_ids(ours.config, batch=1, seed=1)[:, :7]
    targets[0, 2] = IGNORED
    trace = ours.watch(ids, targets, backward=True)
    pick = random.Random(0)
    nodes = [node for node in trace.computed if node.op is not None]
    for node in pick.sample(nodes, min(60, len(nodes))):
        index = ",".join(
            f"{axis}={pick.randrange(n)}" for axis, n in zip(node.axes, node.shape, strict=True)
        )
        explanation = trace.explain(f"{node.path}[{index}]")
        assert explanation.agrees, explanation.address
