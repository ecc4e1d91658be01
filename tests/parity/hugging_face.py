"""GPT-2 models made by `transformers`, with random weights; no network."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import, which reads it

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

transformers.utils.logging.disable_progress_bar()

ODD = {"vocab_size": 97, "n_positions": 11, "n_embd": 30, "n_head": 5, "n_layer": 3}


def gpt2_model(dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """A GPT-2 whose every parameter is random, gains and biases too."""
    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(GPT2Config(**{**ODD, **settings}))
    model.to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            parameter.normal_(mean, 0.3)
    return model


def open_theirs(folder: Path) -> Any:
    """A folder as `transformers` opens it."""
    return AutoModelForCausalLM.from_pretrained(folder).eval()
