"""A model that learns from one text: its optimizer's state, its recipe, its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.generation.prompt import check_prompt
from glassformer.interop.open import load, reads_text, without_tokenizer
from glassformer.model import EncoderDecoder, load_preset, preset_names
from glassformer.model.kinds import AnyModel
from glassformer.model.texts import next_tokens
from glassformer.ops import IGNORED
from glassformer.text.chat import render_chat, usual_template
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.training.data import filled
from glassformer.training.recipe import Recipe
from glassformer.training.replay import nearest, saved_states, state_at
from glassformer.training.schedule import learning_rate
from glassformer.training.translation import translated
from glassformer.training.watched import Moments, WatchedStep, watch_step, zero_moments

Report = Callable[[int, int], None]
"""Called with the first and the last step of what is about to be replayed."""


@dataclass(frozen=True)
class TrainState:
    """A model after `done` updates; `lr` is the next one's learning rate, None: the schedule's."""

    model: Any
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

    def make_targets(self, text: str, target: str | None = None) -> tuple[Tensor, Tensor]:
        """A text's tokens and what is asked after each, both [1, pos].

        Without a target its own next tokens are asked, with one only what follows the last. A text
        of one token more than the context is asked for its last token too, and read up to it. Of an
        encoder the target is what its one blank hides.
        """
        if isinstance(self.model, EncoderDecoder):
            raise GlassformerError(
                "an encoder-decoder learns a translation from a source, and this is one text; take"
                " training.translation.translated"
            )
        tokens = self.tokenizer.encode_prompt(text)
        if not self.model.config.causal:
            check_prompt(self.model, tokens)
            ids = torch.tensor([tokens])
            return ids, blank_targets(ids, self.tokenizer, target)
        if target is None and len(tokens) == self.model.config.n_ctx + 1:
            return torch.tensor([tokens[:-1]]), torch.tensor([tokens[1:]])
        check_prompt(self.model, tokens)
        ids = torch.tensor([tokens])
        if target is not None:
            targets = torch.full_like(ids, IGNORED)
            targets[0, -1] = token_of(self.tokenizer, target)
            return ids, targets
        if len(tokens) == 1:
            raise GlassformerError(
                f"{text!r} is one token, so it has no next token to learn from; give a longer text"
                " or --target WORD"
            )
        return ids, next_tokens(ids)

    def make_chat_targets(self, message: str, reply: str) -> tuple[Tensor, Tensor]:
        """A message and its reply by the chat template, [1, pos]; the reply alone is asked for."""
        template = usual_template(self.tokenizer)
        if template is None:
            raise GlassformerError(
                "this model's tokenizer has no chat template, so it was not made for chats; give"
                " --target WORD, or nothing, in place of --reply"
            )
        chat = [{"role": "user", "content": message}, {"role": "assistant", "content": reply}]
        ids, is_reply = render_chat(template, self.tokenizer, chat)
        if not is_reply[1:].any():
            raise GlassformerError("the reply has no token to ask for; give a text to --reply")
        check_prompt(self.model, ids[:-1].tolist())
        chat_targets = torch.from_numpy(ids).masked_fill(~torch.from_numpy(is_reply), IGNORED)
        return torch.from_numpy(ids)[None, :-1], chat_targets[None, 1:]

    def make_pair(
        self, message: str, chosen: str, rejected: str, beta: float
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A message and two replies to it, [2, pos], and what they are compared by.

        The reference is the model as it is now, so neither reply is preferred yet.
        """
        replies = [self.make_chat_targets(message, reply) for reply in (chosen, rejected)]
        if torch.equal(*(targets[targets != IGNORED] for _, targets in replies)):
            raise GlassformerError("both replies are the same; give --rejected another one")
        ids = filled([ids[0].tolist() for ids, _ in replies], 0)
        targets = filled([targets[0].tolist() for _, targets in replies], IGNORED)
        # with gradients, as the step is: other products may round differently
        watched = self.model.watch(ids, targets, keep="token_loss", backward=True)
        reference = watched.value_of(watched.node("fwd/token_loss")).sum(-1)
        return ids, targets, {"reference": reference, "beta": torch.full_like(reference, beta)}

    def train_step(
        self,
        ids: Tensor,
        targets: Tensor,
        is_cancelled: CancelCheck = never_cancelled,
        **more: Tensor,
    ) -> tuple[WatchedStep[Any], TrainState]:
        """Watch one update; return it and the state after it. `more`: as for `model.watch`."""
        watched = watch_step(
            self.model,
            ids,
            targets,
            recipe=self.recipe,
            moments=self.moments,
            lr=self.next_lr,
            t=self.done + 1,
            is_cancelled=is_cancelled,
            **more,
        )
        after = replace(self, model=watched.model, moments=watched.moments, done=self.done + 1)
        return watched, after


def open_train_state(
    run: str,
    step: int | None = None,
    lr: float | None = None,
    report: Report = lambda start, end: None,
) -> TrainState:
    """A run as it was after a step (None: its newest), or any other model, new to training."""
    folder = Path(run)
    if lr is not None:
        Recipe(lr=lr)  # refuses what is no learning rate
    if step is not None or (folder / "run.json").is_file():
        if step is None:
            step = max(saved_states(folder), default=0)
        report(nearest(folder, step).step, step)
        model, moments, recipe, tokenizer = state_at(folder, step)
        return TrainState(model, tokenizer, moments, recipe, step, lr)
    return open_model(run, lr)


def open_model(run: str, lr: float | None = None) -> TrainState:
    """Any model as one that is new to training, whatever it was trained with before."""
    model, tokenizer = open_run(run)
    table = load_preset(run).get("training", {}) if run in preset_names() else {}
    recipe = Recipe.from_dict(table)
    constant = recipe.lr if lr is None else lr
    return TrainState(model.float(), tokenizer, zero_moments(model.float()), recipe, 0, constant)


def open_run(
    run: str, at_step: int | None = None, report: Report = lambda start, end: None
) -> tuple[Any, Tokenizer]:
    """A run's model and the tokenizer that turns text into its tokens.

    at_step: as it was after so many updates; None: as it is.
    """
    if at_step is not None:
        report(nearest(Path(run), at_step).step, at_step)
        state = state_at(Path(run), at_step)
        return state.model, state.tokenizer
    if not reads_text(run):
        raise without_tokenizer(run)
    model, tokenizer = load(run)
    if tokenizer is None:
        raise without_tokenizer(run)
    return model, tokenizer


def blank_targets(ids: Tensor, tokenizer: Tokenizer, target: str | None) -> Tensor:
    """Targets [1, pos] for an encoder: `target` in the text's one blank, and nothing else."""
    blanks = [pos for pos, i in enumerate(ids[0].tolist()) if i == tokenizer.mask_id]
    if target is None or len(blanks) != 1:
        blank = tokenizer.mask or "[MASK]"
        raise GlassformerError(
            f"an encoder learns what a blank hides, and here is no one blank with its word; write"
            f" {blank} for one word of the text and name it: --target WORD"
        )
    targets = torch.full_like(ids, IGNORED)
    targets[0, blanks[0]] = token_of(tokenizer, target)
    return targets


def token_of(tokenizer: Tokenizer, word: str) -> int:
    """The one token that a word is: as it is written, else with a space before it, else by name."""
    pieces = _known(tokenizer, word)
    for ids in (pieces, _known(tokenizer, f" {word}")):
        if len(ids) == 1:
            return ids[0]
    try:
        return tokenizer.id(word)
    except GlassformerError:
        if len(pieces) < 2:
            raise
        names = ", ".join(repr(tokenizer.token(token)) for token in pieces)
        raise GlassformerError(
            f"{word!r} is {len(pieces)} tokens here: {names}; give one of them"
        ) from None


def _known(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text; none where a word is outside the vocabulary."""
    try:
        ids = tokenizer.encode(text)
    except GlassformerError:  # there is no <unk> to put in its place
        return []
    return [] if tokenizer.unknown_words(text) else ids


def inputs_of(model: AnyModel, tokenizer: Tokenizer, prompt: str) -> tuple[Tensor, dict[str, Any]]:
    """What a model reads of a prompt: ids [1, pos], and by its name what it reads beside them.

    Two towers read it as their source, and then their own translation.
    """
    if isinstance(model, EncoderDecoder):
        ids, _, source = translated(model, tokenizer, prompt)
        return ids, {"source": source}
    tokens = tokenizer.encode_prompt(prompt)
    check_prompt(model, tokens)
    return torch.tensor([tokens]), {}
