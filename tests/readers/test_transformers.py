"""What `export` writes is read by `transformers`: tokenizer, model and pipeline."""

from __future__ import annotations

import stat

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

from glassformer.interop.export import CARD
from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)
from tests.readers.exported import (
    NEW,
    PROMPT,
    SHAPES,
    exported,
    greedy,
    logits,
    strings,
    tokenizer_of,
)

CLOSE = 1e-5  # float32, the same sums in another order


@pytest.fixture(scope="module", params=SHAPES)
def case(request, tmp_path_factory):
    """The folder of a family, and the model that was written there."""
    folder = tmp_path_factory.mktemp("export") / request.param
    return folder, exported(folder, request.param), request.param


def test_an_export_is_a_model_a_tokenizer_and_a_card_that_all_may_read(case):
    folder, _, _ = case
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    model = {"config.json", "generation_config.json", "model.safetensors"}
    assert set(files) == {*model, "tokenizer.json", "tokenizer_config.json", CARD}
    assert set(files.values()) == {0o644}


def test_transformers_gives_a_thousand_texts_the_same_ids(case):
    folder, model, _ = case
    theirs = AutoTokenizer.from_pretrained(folder)
    texts = strings()
    assert theirs(texts)["input_ids"] == tokenizer_of(model).encode_batch(texts)
    assert theirs.unk_token == theirs.eos_token == "<eos>"


@torch.no_grad()
def test_transformers_computes_the_same(case):
    folder, model, family = case
    ids = tokenizer_of(model).encode(PROMPT)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.config.model_type == family
    assert (theirs(torch.tensor([ids])).logits[0] - logits(model, ids)).abs().max() < CLOSE
    assert AutoModel.from_pretrained(folder)(torch.tensor([ids]))[0].shape[-1] == 32


def test_a_pipeline_writes_the_same_greedy_text(case):
    folder, model, _ = case
    write = pipeline("text-generation", model=str(folder), device="cpu")
    said = write(PROMPT, max_new_tokens=NEW, do_sample=False, return_full_text=False)
    ours = greedy(model, tokenizer_of(model).encode(PROMPT), [0])
    assert said[0]["generated_text"] == tokenizer_of(model).decode(ours)
