"""The heads that answer from the prompt: what is counted, where they look, what is lost without."""

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.lab.answering_heads import answering_heads
from glassformer.model import Config
from glassformer.text.storyland import Answer, Document
from glassformer.text.tokenizer import Tokenizer
from tests.model.variety import random_model

TEXT = "fig is red . plum is blue . fig is red . plum is blue ."
ASKED = [TEXT.rindex("red"), TEXT.rindex("blue")]
FRESH = TEXT.index("red")


def document(*starts: int) -> Document:
    answers = tuple(Answer(s, TEXT.index(" ", s), n_examples=1) for s in starts)
    return Document(TEXT, nats=1.0, kind="colors", answers=answers)


@pytest.fixture(scope="module")
def reader():
    tokenizer = Tokenizer.train("words", [TEXT])
    config = Config(
        vocab_size=tokenizer.vocab_size, n_ctx=20, d_model=8, n_layers=2, n_heads=2, d_mlp=8
    )
    return random_model(config, 3), tokenizer


def test_a_head_is_missed_for_what_the_model_gets_wrong_with_its_output_matrix_at_zero(reader):
    model, tokenizer = reader
    documents = [document(*ASKED), document(ASKED[0])]
    answering = answering_heads(model, tokenizer, documents)
    assert answering.questions == 3
    ids = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(TEXT)]])
    due = [TEXT[:start].count(" ") + 1 for start in ASKED]  # positions, <eos> first

    def accuracy() -> float:
        best = model(ids)[0].argmax(-1)
        first, second = (float(best[pos - 1] == ids[0, pos]) for pos in due)
        return (2 * first + second) / 3

    assert answering.accuracy == accuracy()
    assert len(answering.heads) == 4
    without = [head.accuracy_without for head in answering.heads]
    assert without == sorted(without)
    for head in answering.heads:
        weight = model.weights()[f"blocks.{head.layer}.attn.W_O"]
        kept = weight.detach().clone()
        with torch.no_grad():
            weight[head.head] = 0
            assert head.accuracy_without == accuracy()
            weight.copy_(kept)


def test_where_a_head_looks_is_its_attention_to_the_shown_answer_and_to_the_word_asked_about(
    reader,
):
    model, tokenizer = reader
    answering = answering_heads(model, tokenizer, [document(ASKED[0])])
    ids = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(TEXT)]])
    trace = model.watch(ids)
    due = TEXT[: ASKED[0]].count(" ") + 1
    shown = TEXT[:FRESH].count(" ") + 1
    for head in answering.heads:
        row = trace[f"blocks.{head.layer}.attn.pattern[head={head.head},query={due - 1}]"]
        assert head.to_answer == pytest.approx(row[shown].item(), rel=1e-12)
        assert head.to_subject == pytest.approx(row[due - 2].item(), rel=1e-12)


def test_texts_that_ask_for_nothing_they_have_shown_are_refused(reader):
    model, tokenizer = reader
    with pytest.raises(GlassformerError, match="none of the texts asks"):
        answering_heads(model, tokenizer, [document(FRESH)])
