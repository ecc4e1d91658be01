"""Which heads answer from the prompt: where each looks when it is asked, and what it is missed for.

An induction score asks for one mechanism on random tokens; a model may learn from its prompt
without it. So here the questions are Storyland's own: an answer that only the prompt can tell ("fig
is red. ... fig is" -> red), the attention of each head at the moment of the question, and the
answers that are still right once that head is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.lab.edits import Edit, without_head
from glassformer.model.kinds import OneTower
from glassformer.text.storyland import Document
from glassformer.text.tokenizer import Tokenizer


class Question(NamedTuple):
    """An answer of one token whose token the text has shown before.

    `row` and `pos`: the text, and the token after which the answer is due. `subject`: the position
    of the word asked about. `answer`: its id. `shown`: positions of the answer's token before.
    """

    row: int
    pos: int
    subject: int
    answer: int
    shown: list[int]


@dataclass(frozen=True)
class Head:
    """One head at the questions.

    `to_answer`: mean attention to the places that showed the answer; `to_subject`: to the word
    asked about ("fig" in "fig is"); shares of 1. `accuracy_without`: of the
    questions, the share still answered right when the head writes nothing.
    """

    layer: int
    head: int
    to_answer: float
    to_subject: float
    accuracy_without: float


@dataclass(frozen=True)
class AnsweringHeads:
    """Of `questions` the share `accuracy` is answered right; `heads`, the most missed first."""

    questions: int
    accuracy: float
    heads: list[Head]


def answering_heads(
    model: OneTower, tokenizer: Tokenizer, documents: Sequence[Document], back: int = 2
) -> AnsweringHeads:
    """What each head does for answers that only the prompt can tell.

    back: how many tokens before its answer the word asked about stands; 2 in "fig is red".

    Errors: no text asks for what it has shown.
    """
    ids, questions = _questions(model, tokenizer, documents, back)
    if not questions:
        raise GlassformerError("none of the texts asks for an answer that it has shown before")
    ids = ids.to(model.embed.W_E.device)
    trace = model.watch(ids, keep="*.attn.pattern,logits")
    heads = [
        Head(
            layer,
            head,
            _mean(pattern[q.row, head, q.pos, q.shown].sum().item() for q in questions),
            _mean(pattern[q.row, head, q.pos, q.subject].item() for q in questions),
            _accuracy(model, ids, questions, without_head(model.config, layer, head)),
        )
        for layer in range(model.config.n_layers)
        for pattern in [trace.value_of(trace.node(f"fwd/blocks.{layer}.attn.pattern"))]
        for head in range(model.config.n_heads)
    ]
    return AnsweringHeads(
        questions=len(questions),
        accuracy=_right(trace.value_of(trace.node("fwd/logits")), questions),
        heads=sorted(heads, key=lambda head: head.accuracy_without),
    )


def _questions(
    model: OneTower, tokenizer: Tokenizer, documents: Sequence[Document], back: int
) -> tuple[Tensor, list[Question]]:
    """The texts as ids [batch, pos], as far as the context goes, and what they ask."""
    eos = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    start = tokenizer.begin_ids[-1:] or eos
    rows: list[list[int]] = []
    questions = []
    for document in documents:
        encoding = tokenizer.engine.encode(document.text, add_special_tokens=False)
        ids = (start + encoding.ids)[: model.config.n_ctx]
        for answer in document.answers:
            its = [
                i
                for i, (a, b) in enumerate(encoding.offsets, len(start))
                if a < answer.end and b > answer.start
            ]
            if len(its) != 1 or not back <= its[0] < len(ids):
                continue
            token = ids[its[0]]
            shown = [i for i in range(its[0]) if ids[i] == token]
            if shown:
                at = its[0]
                questions.append(Question(len(rows), at - 1, at - back, token, shown))
        rows.append(ids)
    longest = max(map(len, rows), default=0)
    # what stands after a text's end changes nothing before it
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows]), questions


def _accuracy(model: OneTower, ids: Tensor, questions: Sequence[Question], edit: Edit) -> float:
    trace = model.watch(ids, keep="logits", edit=edit)
    return _right(trace.value_of(trace.node("fwd/logits")), questions)


def _right(logits: Tensor, questions: Sequence[Question]) -> float:
    best = logits.argmax(-1).cpu()
    return _mean(float(best[q.row, q.pos] == q.answer) for q in questions)


def _mean(values: Iterable[float]) -> float:
    numbers = [*values]
    return sum(numbers) / len(numbers)
