"""What the API says of a run: its model, its recipe, its losses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from glassformer.server.schemas.base import Output


class RunSummary(Output):
    id: str
    name: str
    parameters: int
    steps_done: int | None
    steps_left: int | None = Field(
        description="Steps that the run's recipe still plans; null for what was not trained here."
    )
    loss: float | None


class RunList(Output):
    runs: list[RunSummary]


class Weight(Output):
    name: str
    axes: list[str]
    shape: list[int]
    parameters: int
    share: float


class TokenizerInfo(Output):
    """What a notebook's trace does not know of its tokenizer is null."""

    kind: str
    vocab_size: int | None = None
    fingerprint: str | None = None
    eos: int | None = None


class FolderSampling(Output):
    """How a folder's generation_config.json asks for tokens to be chosen; null: it does not say."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class RunInfo(RunSummary):
    kind: Literal["run", "folder", "preset"]
    path: str | None
    config: dict[str, Any]
    n_ctx: int
    vocab_size: int
    tied: bool
    weights: list[Weight]
    tokenizer: TokenizerInfo
    snapshots: list[int]
    floor: float | None
    suggested_prompt: str
    suggested_target: str | None
    examples: list[str] = Field(description="Prompts that suit the model, the best first.")
    recipe: dict[str, Any] | None
    sampling: FolderSampling


class MetricsRow(Output):
    step: int
    loss: float | None = None
    held_out: float | None = None
    whole_text: float | None = None
    tokens_per_second: float | None = None


class Metrics(Output):
    """Losses by step; the floor, and the losses of two guesses that need no model, where known."""

    rows: list[MetricsRow]
    floor: float | None = None
    unigram_loss: float | None = None
    uniform_loss: float | None = None
