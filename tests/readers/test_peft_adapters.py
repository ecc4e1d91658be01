"""Adapters are those of peft: its logits and its merge, from our folders, and ours from its own."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.interop import families
from glassformer.interop.folder import save
from glassformer.interop.open import load
from glassformer.model.adapted import merged, with_adapters
from glassformer.model.adapter import Adapter
from glassformer.model.parts import ADAPTABLE, Lora
from tests.parity.families import FAMILIES, InDouble, random_ids, their_model

pytestmark = pytest.mark.heavy

CLOSE = 1e-11  # float64, the same sums in another order
DECODERS = [
    name
    for name in FAMILIES
    if not families.family(name).is_of_towers and name not in ("bert", "roberta", "modernbert")
]


def saved_there(name: str, folder: Path) -> Any:
    """A random model of a family, in float64 and saved so."""
    model = their_model(name, FAMILIES[name][0])
    model.save_pretrained(folder)
    model.name_or_path = str(folder)  # peft writes it down
    return model


def all_adapted(base: Any) -> Any:
    """The model with random adapters beside every matrix that can have one."""
    config = base.config
    sparse = any(config.has_experts(i) for i in range(config.n_layers))
    absent = {"W_gate"} if not config.gated else set()
    absent |= {"W_gate", "W_in", "W_out"} if sparse else set()
    on = tuple(name for name in ADAPTABLE if name not in absent)
    torch.manual_seed(3)
    model = with_adapters(base, Lora(rank=3, alpha=5.0, on=on))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Adapter):
                module.B.normal_(std=0.1)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
def test_peft_reads_and_merges_what_we_write_of_every_family(name, tmp_path):
    peft = importlib.import_module("peft")
    original = saved_there(name, tmp_path / "base")
    base, _ = load(tmp_path / "base")
    model = all_adapted(base)
    model.folder_settings = replace(model.folder_settings, base=str(tmp_path / "base"))
    save(model, None, tmp_path / "adapters")
    ids = random_ids(base.config)
    with InDouble():
        adapted = peft.PeftModel.from_pretrained(original, tmp_path / "adapters").eval()
        logits = adapted(ids).logits
        of_merged = adapted.merge_and_unload()(ids).logits
    ours = model(ids)
    assert (ours - base(ids)).abs().max() > 1e-3, "the adapters change something"
    assert (ours - logits).abs().max() < CLOSE
    assert torch.equal(ours, load(tmp_path / "adapters")[0](ids))
    assert (merged(model)(ids) - of_merged).abs().max() < CLOSE


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
def test_adapters_of_peft_give_its_logits_here(name, tmp_path):
    peft = importlib.import_module("peft")
    original = saved_there(name, tmp_path / "base")
    base, _ = load(tmp_path / "base")
    model = all_adapted(base)
    save(model, None, tmp_path / "ours")
    targets = json.loads((tmp_path / "ours/adapter_config.json").read_text())["target_modules"]
    torch.manual_seed(4)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=3, lora_alpha=4, target_modules=targets, init_lora_weights=False
    )
    ids = random_ids(base.config)
    with InDouble():
        adapted = peft.get_peft_model(original, config).eval()
        adapted.save_pretrained(tmp_path / "theirs")
        logits = adapted(ids).logits
    ours = load(tmp_path / "theirs")[0]
    assert ours.config.lora is not None
    assert ours.config.lora.rank == 3
    assert (ours(ids) - base(ids)).abs().max() > 1e-3, "the adapters change something"
    assert (ours(ids) - logits).abs().max() < CLOSE


def test_what_peft_adds_beside_x_a_b_is_refused_by_name(tmp_path):
    peft = importlib.import_module("peft")
    original = saved_there("llama", tmp_path / "base")
    for number, (setting, word) in enumerate(
        (
            ({"use_dora": True}, "use_dora"),
            ({"target_modules": ["lm_head"]}, "lm_head"),
            ({"layers_to_transform": [0]}, "blocks.1.attn.W_Q is not adapted"),
            ({"rank_pattern": {"v_proj": 2}}, "different ranks"),
        )
    ):
        settings = {"target_modules": ["q_proj", "v_proj"], "r": 3, **setting}
        adapted = peft.get_peft_model(original, peft.LoraConfig(**settings))
        adapted.save_pretrained(tmp_path / str(number))
        original = adapted.unload()
        with pytest.raises(GlassformerError, match=word):
            load(tmp_path / str(number))
