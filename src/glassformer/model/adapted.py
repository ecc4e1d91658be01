"""A model with adapters beside its frozen matrices: begun, taken apart, merged into its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from glassformer.errors import GlassformerError
from glassformer.model.adapter import Adapter, draw_adapter
from glassformer.model.config import Config
from glassformer.model.kinds import OneTower, kind_of
from glassformer.model.parts import Lora
from glassformer.watch.view import learned


def with_adapters(base: OneTower, lora: Lora) -> OneTower:
    """A model's copy, in its dtype, with adapters that change nothing yet."""
    refuse_two(base.config)
    config = base.config.replace(lora=lora.to_dict())
    table = base.embed.W_E
    model: OneTower = kind_of(config).unfilled(config, table.dtype, table.device)
    model.load_state_dict(base.state_dict(), strict=False)  # adapters are drawn
    for name, parameter in learned(model).items():
        draw_adapter(parameter, name.rpartition(".")[2])
    model.folder_settings, model.tokenizer = base.folder_settings, base.tokenizer
    return model.train(base.training)


def refuse_two(config: Any) -> None:
    if not isinstance(config, Config):
        raise GlassformerError(
            "adapters are for a model of one tower; an encoder-decoder is trained whole"
        )
    if config.lora is not None:
        raise GlassformerError(
            "the model has adapters already; write it with them merged into its weights"
            " (glassformer export RUN NEW), and adapt that"
        )


def merged(model: OneTower) -> OneTower:
    """The model without adapters that computes the same: W + A B alpha / rank in place of W."""
    if model.config.lora is None:
        return model
    config = model.config.replace(lora=None)
    weight = model.embed.W_E
    result: OneTower = kind_of(config).unfilled(config, weight.dtype, weight.device)
    result.load_state_dict({n: w for n, w in model.state_dict().items() if ".lora_" not in n})
    views = result.weights()
    with torch.no_grad():
        for part, adapter in adapters_of(model).items():
            change = adapter.change()
            weight = views[part]  # [in, out], or in heads
            if adapter.heads and adapter.merges:
                change = torch.unflatten(change, 0, (adapter.heads, -1))
            elif adapter.heads:
                change = torch.unflatten(change, 1, (adapter.heads, -1)).transpose(0, 1)
            weight.add_(change)
    result.folder_settings, result.tokenizer = (
        replace(model.folder_settings, base=""),
        model.tokenizer,
    )
    return result.eval()


def adapters_of(model: OneTower) -> dict[str, Adapter]:
    """Every adapter by the name of its frozen matrix, such as ``blocks.0.attn.W_Q``."""
    return {
        name.replace("lora_", "W_"): module
        for name, module in model.named_modules()
        if isinstance(module, Adapter)
    }
