"""Adapters are ops like any other: beside frozen weights, explained, and alone in learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate
from glassformer.generation.packed import pack
from glassformer.model import Config, Decoder
from glassformer.model.adapted import merged, with_adapters
from glassformer.model.adapter import Adapter
from glassformer.model.parts import ADAPTABLE, Lora
from glassformer.model.size import adapter_parameters, parameter_count
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step
from tests.interop.models import random_model

SIZES = {"vocab_size": 11, "n_ctx": 7, "d_model": 6, "n_layers": 2, "n_heads": 2, "d_mlp": 10}
LIKE_LLAMA = {
    "position": "rotary",
    "d_head": 4,
    "n_kv_heads": 1,
    "gated": True,
    "norm": "rms",
    "norm_bias": False,
    "attn_bias": False,
}
KINDS: dict[str, dict[str, Any]] = {"gpt2": {}, "llama": LIKE_LLAMA}
IDS, TARGETS = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 3, 4, 5]])


def base_of(kind: str) -> Decoder:
    return random_model(Config.from_dict({**SIZES, **KINDS[kind]}))


def adapted(kind: str, *on: str) -> Any:
    """A random model with random adapters, beside every matrix if none is named."""
    base = base_of(kind)
    every = tuple(name for name in ADAPTABLE if name != "W_gate" or base.config.gated)
    torch.manual_seed(1)
    model = with_adapters(base, Lora(rank=2, alpha=3.0, on=on or every))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Adapter):
                module.B.normal_(std=0.3)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_a_step_with_adapters_explains_itself(kind):
    model = adapted(kind)
    trace = watch_step(model, IDS, TARGETS).trace
    for node in trace.computed:
        middle = ",".join(f"{a}={n // 2}" for a, n in zip(node.axes, node.shape, strict=True))
        address = f"{node.path}[{middle}]" if middle else node.path
        explanation = trace.explain(address)
        assert explanation.agrees, address
    adapter = "blocks.1.attn.lora_V"
    scaled = trace[f"fwd/{adapter}.up"] * 1.5
    assert torch.equal(trace[f"fwd/{adapter}.scaled"], scaled)
    sums = trace["fwd/blocks.1.attn.v_frozen"] + scaled
    assert torch.equal(trace["fwd/blocks.1.attn.v"], sums)


@pytest.mark.parametrize("kind", KINDS)
def test_only_adapters_have_gradients_and_change(kind):
    model = adapted(kind)
    step = watch_step(model, IDS, TARGETS)
    of_weights = {node.name for node in step.trace.computed if node.kind == "opt"}
    assert all(".lora_" in name for name in of_weights if "." in name)
    assert not any(path.startswith("bwd/") and ".W_" in path for path in step.trace.nodes)
    assert all(".lora_" in name for name in step.moments)
    before, after = model.state_dict(), step.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if ".lora_" in name}


def test_the_gradients_of_adapters_are_those_of_numbers_moved_a_little():
    model = adapted("llama").double()
    trace = model.watch(IDS, TARGETS, backward=True)
    for name, at in (
        ("attn.lora_K.A", (3, 1)),
        ("attn.lora_O.B", (1, 4)),
        ("mlp.lora_out.A", (7, 0)),
    ):
        weight = model.get_parameter(f"blocks.0.{name}")
        losses = []
        for nudge in (1e-5, -2e-5, 1e-5):
            with torch.no_grad():
                weight[at] += nudge
                losses.append(model.loss(IDS, TARGETS).item())
        slope = (losses[0] - losses[1]) / 2e-5
        view = trace[f"bwd/blocks.0.{name}"]
        gradient = view.flatten(0, -2)[at] if name.endswith("A") else view[at]
        # the error of a difference of two: the square of the nudge, and rounding by it
        assert abs(slope - gradient.item()) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_new_adapters_change_nothing_and_merged_ones_compute_the_same(kind):
    base = base_of(kind)
    new = with_adapters(base, Lora(rank=3, alpha=3.0, on=("W_Q", "W_V", "W_O", "W_out")))
    assert torch.equal(new(IDS), base(IDS))
    model = adapted(kind)
    assert (model(IDS) - base(IDS)).abs().max() > 1e-2
    assert (model(IDS) - merged(model)(IDS)).abs().max() < 1e-5  # fp32, other sums
    assert merged(model).config.lora is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on", [(), ("W_V", "W_in")])
def test_a_text_is_generated_with_adapters_as_without_the_compiled_step(kind, on):
    model = adapted(kind, *on).eval()
    packed = pack(model)
    assert packed.compiled is not None
    assert torch.allclose(packed(IDS), model(IDS), atol=1e-6)
    quick = [*generate(packed, [1, 2], max_new_tokens=5, temperature=0)]
    slow = [1, 2]
    for _ in range(5):
        slow.append(int(model(torch.tensor([slow]))[0, -1].argmax()))
    assert quick == slow[2:]


def test_adapters_are_counted():
    config = adapted("llama").config
    model = Decoder(config)
    stored = {name: p.numel() for name, p in model.named_parameters()}
    assert parameter_count(config) == sum(stored.values())
    of_adapters = sum(n for name, n in stored.items() if ".lora_" in name)
    assert adapter_parameters(config) == of_adapters > 0


def test_what_can_not_be_adapted_is_refused_by_name():
    plain = Config.from_dict(SIZES)
    lora = {"rank": 2, "alpha": 2.0}
    with pytest.raises(GlassformerError, match="no W_gate"):
        plain.replace(lora={**lora, "on": ["W_gate"]})
    experts = {**LIKE_LLAMA, "n_experts": 3, "experts_per_token": 1}
    with pytest.raises(GlassformerError, match=r"W_in of blocks\.0 is that of 3 experts"):
        Config.from_dict({**SIZES, **experts, "lora": {**lora, "on": ["W_in"]}})
    with pytest.raises(GlassformerError, match="W_E"):
        plain.replace(lora={**lora, "on": ["W_E"]})
    with pytest.raises(GlassformerError, match="has adapters already"):
        with_adapters(adapted("gpt2"), Lora(rank=1, alpha=1.0))
    with pytest.raises(GlassformerError, match="AdamW"):
        watch_step(adapted("gpt2"), IDS, TARGETS, recipe=Recipe(optimizer="muon"))
