"""Training on conversations about little stories, and counting the replies that are right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from glassformer.errors import GlassformerError
from glassformer.model import Decoder
from glassformer.model.evaluating import evaluating
from glassformer.ops import IGNORED
from glassformer.text.chat import Message, RenderedChat, prompt_ids, render_chat, usual_template
from glassformer.text.shard_writing import Encoded, write_asked
from glassformer.text.storyland.chats import Chat, chats
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import for_chats, held_out_of
from glassformer.training.data import filled
from glassformer.training.recipe import Recipe

FEWEST_CHATS = 400  # of which 20 are held out
LONGEST = 224  # tokens of a conversation
MOST_CHATS = 12_000  # a longer run sees some of them again
FRESH = 100  # conversations that `measure` writes, of a seed that no training uses
FRESH_SEED = "fresh"
ROWS = 64  # replies at once


def chat_tokenizer() -> Tokenizer:
    """A tokenizer of all words of these conversations, with a plain template."""
    contents = (m["content"] for chat in islice(chats("vocabulary"), 3_000) for m in chat.messages)
    return for_chats(Tokenizer.train("words", ["user: assistant: system:", *contents]))


def refuse_short_context(n_ctx: int) -> None:
    """Raise where not every conversation has room."""
    if n_ctx < LONGEST:
        raise GlassformerError(
            f"a conversation has up to {LONGEST} tokens and n_ctx={n_ctx}; leave --n-ctx out"
        )


def write_storyland_chats(folder: Path, tokenizer: Tokenizer, recipe: Recipe) -> float:
    """Write a run's conversations, those held out last; return the floor, nats per token asked."""
    n = min(MOST_CHATS, max(FEWEST_CHATS, recipe.steps * recipe.blocks_per_step))
    n_held_out = held_out_of(n)
    held_out = [*islice(chats(f"held out {recipe.seed}"), n_held_out)]
    training = islice(chats(f"training {recipe.seed}"), n - n_held_out)

    def documents(of: Iterable[Chat]) -> Iterator[Encoded]:
        for chat in of:
            ids, said = rendered_chat(tokenizer, chat.messages)
            assert len(ids) <= LONGEST, "three animals with names and five questions"
            n_bytes = sum(len(message["content"].encode()) for message in chat.messages)
            yield Encoded(ids, True, n_bytes, said)

    last = [*documents(held_out)]
    write_asked(folder, chain(documents(training), last), tokenizer)
    return sum(chat.nats for chat in held_out) / sum(
        int(np.count_nonzero(one.asked)) for one in last if one.asked is not None
    )


def rendered_chat(tokenizer: Tokenizer, messages: Sequence[Message]) -> RenderedChat:
    template = usual_template(tokenizer)
    if template is None:
        raise GlassformerError(
            "this model's tokenizer has no chat template, so it was not made for chats; train one"
            " with --preset chat"
        )
    return render_chat(template, tokenizer, messages)


class ChatScore(NamedTuple):
    """Loss and floor of fresh conversations, and the replies that are right, by kind of question.

    A reply is right if, chosen token by token as the most probable, it is one of the right forms,
    to its end.
    """

    loss: float
    floor: float
    right: dict[str, int]
    asked: dict[str, int]

    @property
    def accuracy(self) -> float:
        return sum(self.right.values()) / sum(self.asked.values())


@torch.no_grad()
def measure_chats(model: Decoder, tokenizer: Tokenizer, n: int = FRESH) -> ChatScore:
    """Score a model on n conversations that it can't have seen, after what was said before."""
    fresh = [*islice(chats(FRESH_SEED), n)]
    nats, tokens = 0.0, 0
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    with evaluating(model):
        for start in range(0, n, ROWS):
            some = [rendered_chat(tokenizer, chat.messages) for chat in fresh[start : start + ROWS]]
            _, surprise = _hits(model, [(ids, said) for ids, said in some])
            nats += surprise
            tokens += sum(int(said[1:].sum()) for _, said in some)
        forms = [*_forms(tokenizer, fresh)]
        hits: list[bool] = []
        for start in range(0, len(forms), ROWS):
            hits += _hits(model, [form for _, form in forms[start : start + ROWS]])[0]
    for (kind, _), one, other in zip(forms[::2], hits[::2], hits[1::2], strict=True):
        asked[kind] = asked.get(kind, 0) + 1
        right[kind] = right.get(kind, 0) + (one or other)
    return ChatScore(nats / tokens, sum(chat.nats for chat in fresh) / tokens, right, asked)


def _forms(
    tokenizer: Tokenizer, fresh: Sequence[Chat]
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Of each reply both right forms, each with all that was said before it."""
    for chat in fresh:
        for number, reply in enumerate(chat.replies):
            before = chat.messages[: 2 * number + 1]
            for text in reply.forms:
                ids, said = rendered_chat(
                    tokenizer, [*before, {"role": "assistant", "content": text}]
                )
                template = usual_template(tokenizer)
                assert template is not None, "asked before"
                first = len(prompt_ids(template, tokenizer, before))
                yield reply.kind, (ids, said & (np.arange(len(ids)) >= first))


def _hits(
    model: Decoder, rows: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[list[bool], float]:
    """Whether every token asked of a row is the most probable one; their surprise in all."""
    device = next(model.parameters()).device
    longest = max(len(ids) for ids, _ in rows) - 1
    if longest > model.config.n_ctx:
        raise GlassformerError(
            f"a conversation has {longest} tokens and the model reads {model.config.n_ctx}; train"
            " one with --preset chat"
        )
    ids = filled([ids[:-1].tolist() for ids, _ in rows], 0)
    targets = filled([np.where(said, ids, IGNORED)[1:].tolist() for ids, said in rows], IGNORED)
    logits = model(ids.to(device)).float().cpu()
    surprise = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    wrong = (logits.argmax(-1) != targets) & (targets != IGNORED)
    return [not row for row in wrong.any(-1).tolist()], float(surprise)
