"""Folders of every family: theirs here and ours there, logits, gradients and greedy texts."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate, generate_batch
from glassformer.generation.packed import unpacked
from glassformer.generation.plain_rows import PlainRows
from glassformer.interop import families
from glassformer.interop.folder import load_folder, save
from glassformer.interop.layouts import parts_of
from glassformer.interop.names import activations
from glassformer.interop.open import config_of
from glassformer.ops import IGNORED
from glassformer.trace import Node
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step, zero_moments
from tests.parity.families import (
    CASES,
    ENCODERS,
    FAMILIES,
    ONE_BY_ONE,
    SHARED,
    TOWERS,
    InDouble,
    more_here,
    opener,
    random_ids,
    their_logits,
    their_model,
)
from tests.parity.families_page import PAGE, on_the_page, page

DECODERS = [case for case in CASES if case[0] not in {*ENCODERS, *TOWERS}]
NAMED = [case for case in CASES if case[0] not in TOWERS]

# Relative to the largest number of a tensor: the same sums in other orders.
LOGITS = {torch.float32: 1e-4, torch.float64: 1e-10}
GRADIENTS = 1e-8
SMALLEST = 1e-3  # a gradient that is zero by symmetry, as a key's bias, has no size of its own


@pytest.fixture(scope="module", params=CASES, ids=[f"{name} {i}" for name, i, _ in CASES])
def case(request, tmp_path_factory):
    """A model of `transformers`, the folder it was saved in, and the same model here."""
    model_type, _, settings = request.param
    theirs = their_model(model_type, settings)
    folder = tmp_path_factory.mktemp("family")
    theirs.save_pretrained(folder)
    return theirs, folder, load_folder(folder)[0]


def difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), SMALLEST)


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return difference(ours, theirs) <= tolerance


def test_every_family_is_tried():
    assert {*families.names()} == {*FAMILIES}


def test_the_reference_lists_every_family_with_figures_within_the_bounds():
    """The page is written by `python -m tests.parity.write_families_page`."""
    figures = on_the_page()
    assert PAGE.read_text(encoding="utf-8") == page(figures)
    for row in figures.values():
        assert row.logits_32 <= LOGITS[torch.float32]
        assert row.logits_64 <= LOGITS[torch.float64]
        assert row.gradients <= GRADIENTS


@torch.no_grad()
def test_logits_are_the_same_here(case):
    theirs, folder, ours = case
    figures = on_the_page()[theirs.config.model_type]
    ids = random_ids(ours.config)
    with InDouble():
        expected = their_logits(theirs, ids)
    more = more_here(ours, ids)
    assert close(ours(ids, **more), expected, figures.logits_64)
    narrow, _ = load_folder(folder, dtype=torch.float32)
    expected = their_logits(deepcopy(theirs).float(), ids)
    assert close(narrow(ids, **more), expected, figures.logits_32)


@torch.no_grad()
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, marks=[pytest.mark.heavy] if c[1] else [], id=f"{c[0]} {c[1]}")
        for c in CASES
    ],
    indirect=True,
)
def test_saved_here_it_is_the_same_folder_there(case, tmp_path):
    """In its own family's form, and bit for bit."""
    theirs, _, ours = case
    save(ours, None, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == theirs.config.model_type
    ids = random_ids(ours.config)
    with InDouble():
        opening = opener(written["model_type"])
        with patch.object(torch, "FloatTensor", torch.DoubleTensor):  # Marian's sines
            back: Any = opening.from_pretrained(tmp_path, **ONE_BY_ONE).eval()
        expected = their_logits(theirs, ids)
        assert close(their_logits(back, ids), expected, LOGITS[torch.float64])
    again, _ = load_folder(tmp_path)
    assert again.config == ours.config
    assert all(torch.equal(again.weights()[n], w) for n, w in ours.weights().items())
    del written["glassformer"]  # as another program would write it
    (tmp_path / "config.json").write_text(json.dumps(written))
    more = more_here(ours, ids)
    assert torch.equal(load_folder(tmp_path)[0](ids, **more), ours(ids, **more))


@pytest.mark.parametrize("case", NAMED, indirect=True, ids=[f"{n} {i}" for n, i, _ in NAMED])
@torch.no_grad()
def test_every_value_is_the_output_of_the_module_that_the_table_names(case):
    theirs, _, ours = case
    outputs: dict[str, Tensor] = {}

    def keep(path):
        def hook(_module, _inputs, output):
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, Tensor):
                outputs[path] = value.clone()  # Falcon adds to its MLP's output in place

        return hook

    hooks = [m.register_forward_hook(keep(path)) for path, m in theirs.named_modules() if path]
    ids = random_ids(ours.config)
    with InDouble():
        theirs(ids)
    for hook in hooks:
        hook.remove()
    trace = ours.watch(ids)
    family = families.family(ours.folder_settings.model_type)
    compared = 0
    for name in activations(ours.config, family):
        if name.hugging_face is None:
            continue
        compared += 1
        value, expected = trace[name.glassformer], outputs[name.hugging_face]
        if name.third is not None:
            expected = expected.chunk(3, -1)[name.third]
        if name.glassformer == "pos_embed":  # one table for all texts of the batch
            value = value.expand_as(expected)
        if value.ndim == 4 and value.transpose(1, 2).shape == expected.shape:
            value = value.transpose(1, 2)  # some have the heads before the positions
        assert close(value.reshape(expected.shape), expected, LOGITS[torch.float64]), name
    assert compared > 3 * ours.config.n_layers


def gradients(model: Any, ids: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The gradient of every tensor, named and laid out as the family does."""
    model.zero_grad()
    model.loss(ids, targets, **more_here(model, ids)).backward()
    stored = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    parts = parts_of(stored, model.config)
    family = families.family(model.folder_settings.model_type)
    return {
        tensor.name: tensor.layout.write([parts[part] for part in tensor.parts])
        for tensor in family.tensors(model.config)
        if tensor.name != "final_logits_bias"  # `transformers` does not train it
    }


def their_gradients(model: Any) -> dict[str, Tensor]:
    """The gradients of `transformers` under the names of a folder, where fused ones are apart.

    It writes some under the names that older folders have.
    """
    copy = deepcopy(model)
    for parameter, original in zip(copy.parameters(), model.parameters(), strict=True):
        parameter.data = (
            torch.zeros_like(original) if original.grad is None else original.grad.clone()
        )
    with TemporaryDirectory() as folder:
        copy.save_pretrained(folder)
        stored = load_file(f"{folder}/model.safetensors")
    stored.pop("final_logits_bias", None)
    renamed = families.family(model.config.model_type).renamed
    return {
        next(
            (now + name.removeprefix(old) for old, now in renamed.items() if name.startswith(old)),
            name,
        ): gradient
        for name, gradient in stored.items()
    }


def test_gradients_of_all_weights_are_the_same(case):
    theirs, _, ours = case
    ids, targets = random_ids(ours.config), random_ids(ours.config, seed=1)
    theirs.zero_grad()
    with InDouble():
        logits = their_logits(theirs, ids)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    result = gradients(ours, ids, targets)
    expected = their_gradients(theirs)
    assert result.keys() == expected.keys()
    figures = on_the_page()[theirs.config.model_type]
    for name, gradient in expected.items():
        assert close(result[name], gradient, figures.gradients), name


def wrong(folder: Path, copy: Path, change: Callable[[dict, dict], object]) -> str:
    """How a folder is refused after a change of its settings or its tensors, in one line."""
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config.json").read_text())
    tensors = load_file(copy / "model.safetensors")
    change(settings, tensors)
    (copy / "config.json").write_text(json.dumps(settings))
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GlassformerError) as refusal:
        load_folder(copy)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_wrong_folders_are_refused_by_tensor_or_setting(tmp_path):
    """Among them numbers of heads that `transformers` would only notice as a shape, or not."""
    folder = tmp_path / "whole"
    their_model("qwen3", dict(SHARED)).save_pretrained(folder)
    q, layer = "model.layers.0.self_attn.q_proj.weight", "model.layers.1"
    for number, (change, said) in enumerate(
        (
            (lambda s, _: s.update(num_key_value_heads=3), "k_proj.weight in"),
            (lambda s, _: s.update(num_key_value_heads=4), "give a divisor"),
            (lambda s, _: s.update(num_attention_heads=4), q),
            (lambda s, _: s.update(head_dim=6), q),
            (lambda s, _: s.update(use_qk_norm=False), "'use_qk_norm' is no known setting"),
            (lambda s, _: s["rope_parameters"].update(rope_type="dynamic"), "'dynamic'"),
            (lambda s, _: s["rope_parameters"].update(rope_theta=None), "rope_theta=None"),
            (lambda s, _: s.update(model_type="llama"), "no known setting of a Llama"),
            (lambda _, t: t.pop(f"{layer}.self_attn.k_norm.weight"), f"lacks {layer}.self_attn"),
            (lambda _, t: [t.pop(n) for n in list(t) if layer in n], "are of 1"),
            (lambda _, t: t.update({q: t[q].T.contiguous()}), f"{q} in"),
            (lambda _, t: t[q].view(-1)[5].fill_(float("nan")), f"{q} in"),
        )
    ):
        assert said in wrong(folder, tmp_path / str(number), change), said


@pytest.mark.parametrize(
    ("name", "module", "parameter"),
    [
        ("gpt_oss", "attn.sinks", "blocks.0.attn.sinks"),
        ("phi", "mlp.in", "blocks.0.mlp.W_in"),
        ("bart", "ln2", "encoder.blocks.0.ln2.w"),
    ],
)
def test_a_parameter_that_a_family_has_no_tensor_for_is_refused(name, module, parameter, tmp_path):
    """It would be lost when the model is saved, and hold anything when it is read."""
    their_model(name, FAMILIES[name][0]).save_pretrained(tmp_path)
    config, family = config_of(tmp_path), families.family(name)
    assert family.tensors(config)
    block = family.block(config) if callable(family.block) else family.block
    less = replace(family, block={ours: n for ours, n in block.items() if ours != module})
    with pytest.raises(GlassformerError, match=f"{parameter} has no tensor in a {family.title}"):
        less.tensors(config)


def test_numbers_of_experts_that_do_not_fit_are_refused_by_tensor_and_file(tmp_path):
    """And weights that are quantized, by the name of how."""
    apart, fused = tmp_path / "mixtral", tmp_path / "gpt_oss"
    their_model("mixtral", FAMILIES["mixtral"][0]).save_pretrained(apart)
    their_model("gpt_oss", FAMILIES["gpt_oss"][0]).save_pretrained(fused)
    expert = "model.layers.0.block_sparse_moe.experts"
    mxfp4 = {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": []}}
    for number, (folder, change, said) in enumerate(
        (
            (apart, lambda s, _: s.update(num_local_experts=4), f"{expert}.4.w1.weight in"),
            (apart, lambda s, _: s.update(num_local_experts=6), f"lacks {expert}.5.w1.weight"),
            (apart, lambda s, _: s.update(num_experts_per_tok=6), "from 1 to n_experts=5"),
            (apart, lambda s, _: s.update(intermediate_size=43), f"{expert}.0.w1.weight in"),
            (apart, lambda _, t: t.pop(f"{expert}.3.w2.weight"), f"lacks {expert}.3.w2.weight"),
            (fused, lambda s, _: s.update(num_local_experts=4), "mlp.router.weight in"),
            (fused, lambda s, _: s.update(num_attention_heads=4), "q_proj.weight in"),
            (fused, lambda s, _: s.update(mxfp4), "quantized (mxfp4)"),
        )
    ):
        assert said in wrong(folder, tmp_path / str(number), change), said


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "gpt_oss", "roberta", "bart", "t5"])
@torch.no_grad()
def test_sharded_and_narrow_folders_are_read_without_rounding(tmp_path, model_type):
    theirs = their_model(model_type, FAMILIES[model_type][-1]).to(torch.bfloat16)
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len([*tmp_path.glob("*.safetensors")]) > 2
    ours, _ = load_folder(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.bfloat16}
    ids = random_ids(ours.config)
    wide, _ = load_folder(tmp_path, dtype=torch.float64)
    with InDouble():
        opening = opener(model_type)
        expected = opening.from_pretrained(tmp_path, dtype=torch.float64, **ONE_BY_ONE)
        logits = their_logits(expected.eval(), ids)
    assert close(wide(ids, **more_here(wide, ids)), logits, LOGITS[torch.float64])


@pytest.mark.parametrize("case", DECODERS, indirect=True, ids=[f"{n} {i}" for n, i, _ in DECODERS])
@pytest.mark.heavy
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


def test_a_text_longer_than_the_original_context_is_turned_by_the_long_factors(tmp_path):
    """All of it; while it grows, alone, among others or behind the API, at the same token."""
    theirs = their_model("phi3", FAMILIES["phi3"][2])
    theirs.save_pretrained(tmp_path)
    ours, original = load_folder(tmp_path)[0], 8
    ids = random_ids(ours.config)
    with torch.no_grad(), InDouble():
        for n in (1, original - 1, original, original + 1, ours.config.n_ctx):
            assert close(ours(ids[:, :n]), theirs(ids[:, :n]).logits, LOGITS[torch.float64]), n
    prompts = [ids[0, :3].tolist(), ids[1, :9].tolist()]
    alone = [
        [*generate(ours, p, max_new_tokens=9, temperature=0, use_cache=False)] for p in prompts
    ]
    together = generate_batch(ours, prompts, max_new_tokens=9, temperature=0)
    assert [text.new for text in together] == alone
    reader = PlainRows(unpacked(ours), slots=2, capacity=ours.config.n_ctx)
    for slot, (prompt, new) in enumerate(zip(prompts, alone, strict=True)):
        text = [*prompt, *new]
        scores = reader.read([slot] * len(prompt), prompt, [*range(len(prompt))])[-1]
        for at, token in enumerate(new, len(prompt)):
            assert int(scores.argmax()) == token
            scores = reader.read([slot], [text[at]], [at])[-1]


def test_random_values_and_gradients_are_explained_by_their_arithmetic(case):
    _, _, ours = case
    ids = random_ids(ours.config, batch=1)[:, :7]
    targets = random_ids(ours.config, batch=1, seed=1)[:, :7]
    targets[0, 2] = IGNORED
    trace = ours.watch(ids, targets, backward=True, **more_here(ours, ids))
    pick = random.Random(0)
    nodes = [node for node in trace.computed if node.op is not None]
    for node in pick.sample(nodes, min(60, len(nodes))):
        explanation = trace.explain(f"{node.path}{index(node, pick)}")
        assert explanation.agrees, explanation.address


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_random_numbers_of_an_update_are_explained_by_their_arithmetic(case, optimizer):
    _, _, ours = case
    ids = random_ids(ours.config, batch=1)[:, :7]
    targets = random_ids(ours.config, batch=1, seed=1)[:, :7]
    recipe = Recipe(optimizer=optimizer)
    trace = watch_step(
        ours,
        ids,
        targets,
        recipe=recipe,
        moments=zero_moments(ours),
        lr=recipe.lr,
        t=1,
        **more_here(ours, ids),
    ).trace
    pick = random.Random(1)
    nodes = [node for node in trace.computed if node.path.startswith("opt/")]
    for node in pick.sample(nodes, 25):
        explanation = trace.explain(f"{node.path}{index(node, pick)}")
        assert explanation.agrees, explanation.address


def index(node: Node, pick: random.Random) -> str:
    """One number of a node."""
    axes = zip(node.axes, node.shape, strict=True)
    return f"[{','.join(f'{axis}={pick.randrange(n)}' for axis, n in axes)}]" if node.axes else ""
