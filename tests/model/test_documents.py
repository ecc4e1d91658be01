"""Facts about blocks of several documents: each is read as if it stood alone."""

from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.model import Config
from glassformer.ops import IGNORED
from glassformer.training.data import begins
from tests.model.variety import random_model

EOS = 0
DOCUMENTS = [[EOS, 3, 5, 1], [EOS, 2, 2], [EOS, 4, 1, 3, 2]]
SIZES: dict[str, Any] = {"vocab_size": 6, "n_ctx": 12, "d_model": 8, "n_layers": 2, "n_heads": 2}
KINDS: dict[str, dict[str, Any]] = {
    "rotary": {"position": "rotary", "rotary_dims": 4},
    "distances": {"position": "alibi"},
    "no positions": {"position": "none"},
    "windows and shared keys": {"position": "rotary", "rotary_dims": 4, "windows": (3, 0)}
    | {"n_kv_heads": 1},
    "capped, with sinks": {"position": "none", "score_cap": 2.0, "attn_sinks": True},
}


def packed(documents: list[list[int]]) -> torch.Tensor:
    return torch.tensor([[token for document in documents for token in document]])


@pytest.mark.parametrize("kind", KINDS)
def test_each_document_of_a_block_gives_what_it_gives_alone(kind):
    model = random_model(Config(**SIZES, **KINDS[kind]), seed=1)
    ids = packed(DOCUMENTS)
    logits = model(ids, begins=begins(ids, EOS))[0]
    alone = torch.cat([model(torch.tensor([document]))[0] for document in DOCUMENTS])
    # float64: positions are taken as differences, whose sines round elsewhere
    assert torch.allclose(logits, alone, rtol=0, atol=1e-12 * alone.abs().max().item())
    assert not torch.allclose(logits, model(ids)[0], atol=1e-3)


def test_positions_count_on_through_the_block():
    model = random_model(Config(**SIZES, position="learned"), seed=1)
    ids = packed(DOCUMENTS)
    starts = begins(ids, EOS)
    logits = model(ids, begins=starts)
    other = ids.clone()
    other[0, 1:4] = torch.tensor([1, 1, 4])
    # bit for bit: another document has no part in any sum
    assert model(other, begins=starts)[0, 4:].equal(logits[0, 4:])
    moved = packed([DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[2]])
    assert model(moved, begins=begins(moved, EOS))[0, 7:].equal(logits[0, 7:])


def test_a_block_of_documents_is_watched_as_it_is_trained():
    model = random_model(Config(**SIZES), seed=1)
    ids = packed(DOCUMENTS)
    targets = torch.cat([ids[:, 1:], torch.full((1, 1), IGNORED)], 1)
    starts = begins(ids, EOS)
    trace = model.watch(ids, targets, begins=starts, backward=True)
    assert float(trace["loss"]) == pytest.approx(float(model.loss(ids, targets, begins=starts)))
    scores = trace["blocks.0.attn.attn_scores"][0]
    seen = [row.nonzero().flatten().tolist() for row in scores.isfinite()]
    assert seen[3:6] == [[0, 1, 2, 3], [4], [4, 5]]  # the second document sees itself alone
    hidden = trace.explain("fwd/blocks.0.attn.attn_scores[head=0,query=5,key=2]")
    assert hidden.value == -torch.inf
    assert "const/begins[batch=0,pos=5]" in {operand.address for operand in hidden.operands}
    for address in (
        "attn.attn_scores[head=0,query=5,key=4]",
        "attn.scores_raw[head=1,query=6,key=5]",
    ):
        for kind in ("fwd", "bwd"):
            assert trace.explain(f"{kind}/blocks.1.{address}").agrees


def test_a_place_after_its_token_is_refused():
    model = random_model(Config(**SIZES), seed=1)
    with pytest.raises(GlassformerError, match="names a place after its token"):
        model([[1, 2]], begins=[[1, 1]])
