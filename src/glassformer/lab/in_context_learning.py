"""What a model learns from its own prompt: surprise by position, induction heads, and examples.

Source: Olsson et al. 2022, "In-context Learning and Induction Heads".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.kernels.finite import refuse_no_loss, refuse_no_numbers
from glassformer.model.kinds import OneTower
from glassformer.text.storyland import Document
from glassformer.text.tokenizer import Tokenizer

LONGEST_COPY = 50
"""Random tokens that are repeated; fewer where the context or the vocabulary is smaller."""
BATCH = 32
"""Texts that pass through the model at once."""


@dataclass(frozen=True, repr=False)
class Repeats:
    """What a model does with random tokens that come a second time.

    `loss` [pos]: mean surprise in nats at token pos + 1 given all before it; the text is `n` random
    tokens and the same n again. `induction` [layer, head]: see `induction_score`; `uniform` is the
    score of a head that looks at every token alike.
    """

    n: int
    sequences: int
    loss: Tensor
    induction: Tensor
    uniform: float

    @property
    def first(self) -> float:
        """Mean surprise within the first copy, where nothing can be known."""
        return self.loss[: self.n - 1].mean().item()

    @property
    def second(self) -> float:
        """Mean surprise within the second copy; its own first token could not be known."""
        return self.loss[self.n :].mean().item()

    def __repr__(self) -> str:
        layers, heads = self.induction.shape
        best = int(self.induction.argmax())
        return (
            f"<Repeats of {self.n} tokens, {self.sequences} times: {self.first:.4g} nats new,"
            f" {self.second:.4g} again; highest induction {self.induction.max().item():.3g} of"
            f" {layers * heads} heads, layer {best // heads} head {best % heads}>"
        )


class Reading(NamedTuple):
    """What a model made of each token of one text, in order.

    `spans`: its characters [start, end); `surprises` in nats; `guessed`: was it the most probable?
    """

    spans: list[tuple[int, int]]
    surprises: list[float]
    guessed: list[bool]


@dataclass(frozen=True)
class Score:
    """Of `asked` answers in one kind of text, after `n_examples` examples, `right` were guessed."""

    kind: str
    n_examples: int
    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        return self.right / self.asked


def induction_score(
    pattern: Float[Tensor, "batch head query key"], ids: Int[Tensor, "batch pos"]
) -> Float[Tensor, " head"]:
    """The mean attention from a token to the one that came after its previous occurrence.

    score[head] = mean over (batch, query) of pattern[batch, head, query, prev(query) + 1], where
    prev(query) is the last earlier position of the query's token; queries without one, and those
    whose token has just been repeated (prev + 1 is the query itself), do not count. In [0, 1]; a
    head that completes A B ... A with B has 1.
    Source: Olsson et al. 2022, "prefix matching score". Theirs is on 25 random tokens repeated four
    times and averages over all earlier repeats; ours takes the last one.

    >>> pattern = torch.zeros(1, 1, 4, 4)
    >>> pattern[0, 0, 2, 1] = pattern[0, 0, 3, 2] = 1.0  # A B A B: from A to B, from B to A
    >>> induction_score(pattern, torch.tensor([[5, 7, 5, 7]]))
    tensor([1.])
    """
    rows, queries, keys = _after_previous(ids)
    if not len(rows):
        raise GlassformerError("no token comes twice, so there is no induction to measure")
    return pattern[rows, :, queries, keys].mean(0)


def _after_previous(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(batch, query, key): key comes after the last earlier occurrence of the query's token."""
    n = ids.shape[1]
    before = torch.ones(n, n, dtype=torch.bool, device=ids.device).tril(-1)  # key < query
    same = (ids[:, :, None] == ids[:, None, :]) & before
    index = torch.arange(n, device=ids.device)
    previous = torch.where(same, index, -1).amax(-1)  # [batch, query]
    rows, queries = torch.nonzero((previous >= 0) & (previous + 1 < index), as_tuple=True)
    return rows, queries, previous[rows, queries] + 1


def repeated_tokens(
    tokens: Sequence[int], n: int, sequences: int = BATCH, seed: int = 0
) -> Int[Tensor, "batch pos"]:
    """`n` different random tokens and the same again, for each of some sequences.

    >>> repeated_tokens([3, 4, 5], n=2, sequences=1)
    tensor([[5, 3, 5, 3]])
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(len(tokens), generator=generator)[:n] for _ in range(sequences)]
    once = torch.tensor(tokens)[torch.stack(drawn)]
    return torch.cat([once, once], dim=1)


def readable_tokens(tokenizer: Tokenizer) -> list[int]:
    """The tokens that stand for text: <eos> and <unk> add none of their own."""
    return [i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i)]


def measure_repeats(model: OneTower, tokens: Sequence[int]) -> Repeats:
    """Surprise by position and induction per head on random tokens that are repeated once."""
    if not model.config.causal:
        raise GlassformerError(
            "learning in context is measured on the tokens that come next, and an encoder says what"
            " stands in a blank; give a model that goes on with a text"
        )
    n = min(model.config.n_ctx // 2, LONGEST_COPY, len(tokens))
    if n < 2:
        raise GlassformerError(
            f"a model that reads n_ctx={model.config.n_ctx} of {len(tokens)} tokens has no room for"
            " two tokens and the same again; it needs n_ctx of 4 and two tokens"
        )
    ids = repeated_tokens(tokens, n).to(model.embed.W_E.device)
    trace = model.watch(ids[:, :-1], ids[:, 1:], keep="*.attn.pattern,token_loss")
    patterns = [
        trace.value_of(trace.node(f"fwd/blocks.{layer}.attn.pattern"))
        for layer in range(model.config.n_layers)
    ]
    queries = _after_previous(ids[:1, :-1])[1]
    losses = trace.value_of(trace.node("fwd/token_loss")).mean(0).cpu()
    refuse_no_loss(losses.sum().item(), model.embed.W_E.dtype)
    return Repeats(
        n=n,
        sequences=len(ids),
        loss=losses,
        induction=torch.stack([induction_score(p, ids[:, :-1]) for p in patterns]).cpu(),
        uniform=(1 / (queries + 1).double()).mean().item(),
    )


def read_texts(model: OneTower, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Reading]:
    """Every token of each text, as far as the context goes, guessed from all before it.

    Each text stands after what every text begins with, mostly the separator; without one its first
    token, before which there is nothing, is not guessed.
    """
    eos = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    separator = tokenizer.begin_ids[-1:] or eos
    skipped = 1 - len(separator)
    readings = []
    for at in range(0, len(texts), BATCH):
        batch = [*texts[at : at + BATCH]]
        encodings = tokenizer.engine.encode_batch(batch, add_special_tokens=False)
        rows = [(separator + e.ids)[: model.config.n_ctx] for e in encodings]
        longest = max(len(row) for row in rows)
        # what stands after a text's end changes nothing before it
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        with torch.no_grad():
            logits = model(ids.to(model.embed.W_E.device))[:, :-1]
        refuse_no_numbers(logits)
        logits = logits.float().cpu()
        targets = ids[:, 1:]
        surprises = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, reduction="none"
        )
        guessed = logits.argmax(-1) == targets
        for row, encoding, nats, hits in zip(rows, encodings, surprises, guessed, strict=True):
            n = len(row) - 1
            spans = encoding.offsets[skipped : skipped + n]
            readings.append(Reading(spans, nats[:n].tolist(), hits[:n].tolist()))
    return readings


def loss_by_position(readings: Iterable[Reading], least: int) -> list[float]:
    """Mean surprise at each position, as far as `least` texts go."""
    columns = zip_longest(*(reading.surprises for reading in readings))
    known = ([nats for nats in column if nats is not None] for column in columns)
    return [sum(column) / len(column) for column in known if len(column) >= least]


def accuracy_by_examples(documents: Iterable[Document], readings: Iterable[Reading]) -> list[Score]:
    """How often an answer was guessed, by the kind of text and the examples that stood before it.

    An answer is right if each of its tokens was the most probable one; answers that the context
    does not hold are left out.
    """
    counts: dict[tuple[str, int], list[int]] = {}
    for document, reading in zip(documents, readings, strict=True):
        end = reading.spans[-1][1] if reading.spans else 0
        for answer in document.answers:
            hits = [
                hit
                for (a, b), hit in zip(reading.spans, reading.guessed, strict=True)
                if a < answer.end and b > answer.start
            ]
            if hits and answer.end <= end:
                count = counts.setdefault((document.kind, answer.n_examples), [0, 0])
                count[0] += all(hits)
                count[1] += 1
    return [Score(*key, right, asked) for key, (right, asked) in sorted(counts.items())]
