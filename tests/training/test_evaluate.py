"""Loss, perplexity and bits per byte are what they are said to be."""

import math

import pytest
import torch

from glassformer.text.shard_writing import write_shard
from glassformer.training.data import whole_text
from glassformer.training.evaluate import Score, evaluate
from tests.training.small import N_CTX, TOKENIZER, small_model

TEXT = "a b c a b d e f g a c b d d e a f"


def test_the_score_is_the_sum_of_each_tokens_surprise_given_those_before_it_in_its_block(tmp_path):
    shard = write_shard(tmp_path, [TEXT], TOKENIZER)
    model = small_model().eval()
    score = evaluate(model, whole_text(shard, N_CTX, rows=2), n_bytes=shard.header.n_bytes)
    ids = TOKENIZER.encode(TEXT)
    nats = 0.0
    for index in range(1, len(ids)):
        begin = (index - 1) // N_CTX * N_CTX
        logits = model(torch.tensor([ids[begin:index]]))[0, -1]
        nats -= float(logits.log_softmax(-1)[ids[index]].detach())
    assert score.n_tokens == len(ids) - 1
    assert score.nats == pytest.approx(nats, rel=1e-5)  # fp32, summed in another order
    assert score.perplexity == pytest.approx(math.exp(nats / 16), rel=1e-5)
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / len(TEXT), rel=1e-5)


def test_a_text_shorter_than_one_block_is_measured_too(tmp_path):
    shard = write_shard(tmp_path, ["a b"], TOKENIZER)
    assert evaluate(small_model(), whole_text(shard, N_CTX, rows=2)).n_tokens == 1


def test_evaluation_leaves_out_dropout_and_leaves_the_model_as_it_was(tmp_path):
    shard = write_shard(tmp_path, [TEXT], TOKENIZER)
    model = small_model(dropout=0.5).train()
    scores = {evaluate(model, whole_text(shard, N_CTX, rows=2)).nats for _ in range(3)}
    assert len(scores) == 1
    assert model.training


def broken_batches():
    yield from ()
    raise OSError("the disk has gone")


def test_an_evaluation_that_fails_leaves_the_model_as_it_was():
    model = small_model(dropout=0.5).train()
    with pytest.raises(OSError, match="the disk has gone"):
        evaluate(model, broken_batches())
    assert model.training


def test_a_hopeless_model_has_infinite_perplexity_instead_of_an_error():
    assert Score(nats=1e6, n_tokens=1).perplexity == math.inf
