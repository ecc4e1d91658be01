"""What a person asks for when a training begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from glassformer.model.parts import Lora
from glassformer.text.corpus import FIELD


@dataclass(frozen=True)
class Choices:
    """What a person asks for; whatever is None or empty is decided by the preset.

    Without a preset a text decides the sizes.
    """

    texts: tuple[str, ...] = ()
    text_field: str = FIELD  # where rows have it
    template: str | None = None  # or how it is made of several of their fields
    separator: str | None = None  # of documents in a text file
    lora: Lora | None = None
    """Adapters that alone are trained, beside the weights of `start_from`."""
    beta: float | None = None
    """Learn to prefer replies to others (DPO), each nat of gain counting so much."""
    document_mask: bool = False
    """Whether attention ends where its document begins, of several in a block."""
    weights: dict[str, float] = field(default_factory=dict)  # of several texts, by name
    preset: str | None = None
    start_from: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    model: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    """What was asked for in the words of the command line, for the run's train.toml."""
