"""A model that learns from one text: its optimizer's state, its recipe, its learning rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from glassformer.cli.lab.subject import token_of
from glassformer.cli.watching import labels, note_replay, open_run
from glassformer.errors import GlassformerError
from glassformer.generation.generate import check_prompt
from glassformer.interop.open import load_preset, preset_names
from glassformer.model import Transformer
from glassformer.ops import IGNORED
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.recipe import Recipe
from glassformer.training.replay import nearest, saved_states, state_at
from glassformer.training.schedule import learning_rate
from glassformer.training.watched import Moments, WatchedStep, watch_step, zero_moments


@dataclass(frozen=True)
class Learner:
    """A model after `done` updates; `lr` is the next one's learning rate, None: the schedule's."""

    model: Transformer
    tokenizer: Tokenizer
    moments: Moments
    recipe: Recipe
    done: int
    lr: float | None = None

    @property
    def next_lr(self) -> float:
        # after the end of the schedule, its last rate
        step = min(self.done + 1, self.recipe.steps)
        return learning_rate(self.recipe, step) if self.lr is None else self.lr

    def lesson(self, text: str, target: str | None = None) -> tuple[Tensor, Tensor]:
        """A text's tokens and what is asked after each, both [1, pos].

        Without a target its own next tokens are asked, with one only what follows the last.
        """
        tokens = self.tokenizer.encode(text)
        check_prompt(self.model, tokens)
        ids = torch.tensor([tokens])
        targets = torch.full_like(ids, IGNORED)
        if target is not None:
            targets[0, -1] = token_of(self.tokenizer, target)
        elif len(tokens) == 1:
            raise GlassformerError(
                f"{text!r} is one token, so it has no next token to learn from; give a longer text"
                " or --target WORD"
            )
        else:
            targets[:, :-1] = ids[:, 1:]
        return ids, targets

    def learn(self, ids: Tensor, targets: Tensor) -> tuple[WatchedStep, Learner]:
        """Watch one update; return it and the learner after it."""
        watched = watch_step(
            self.model, self.moments, ids, targets, self.recipe, lr=self.next_lr, t=self.done + 1
        )
        watched.trace.labels = labels(self.tokenizer, ids[0].tolist())
        after = replace(self, model=watched.model, moments=watched.moments, done=self.done + 1)
        return watched, after


def open_learner(run: str, step: int | None = None, lr: float | None = None) -> Learner:
    """A run as it was after a step (None: its newest), or any other model, new to training."""
    folder = Path(run)
    if lr is not None:
        Recipe(lr=lr)  # refuses what is no learning rate
    if step is not None or (folder / "run.json").is_file():
        if step is None:
            step = max(saved_states(folder), default=0)
        note_replay(nearest(folder, step).step, step)
        model, moments, recipe, tokenizer = state_at(folder, step)
        return Learner(model, tokenizer, moments, recipe, step, lr)
    model, tokenizer = open_run(run)
    table = load_preset(run).get("training", {}) if run in preset_names() else {}
    recipe = Recipe.from_dict(table)
    constant = recipe.lr if lr is None else lr
    return Learner(model.float(), tokenizer, zero_moments(model.float()), recipe, 0, constant)


ASKED = ("token/targets", "fwd/log_partition", "fwd/target_logit", "fwd/token_loss", "fwd/loss")


def belongs_to_a_step(path: str) -> bool:
    """Whether a value is there only where something is asked: losses, gradients, updates."""
    kind, _, name = path.partition("/")
    earlier = kind == "const" and name.endswith((".m_prev", ".v_prev"))
    return kind in ("bwd", "opt") or earlier or path in ASKED
