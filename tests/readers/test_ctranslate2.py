"""What `export` writes is converted and read by CTranslate2."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import pytest
import torch

from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)
from tests.readers.exported import NEW, PROMPT, exported, greedy, logits, tokenizer_of

pytestmark = pytest.mark.heavy

CLOSE = 1e-5  # float32, the same sums in another order


def test_ctranslate2_is_installed():
    assert importlib.util.find_spec("ctranslate2"), "pip install -e '.[readers]'"


@pytest.mark.parametrize("kind", ["bpe", "chars"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_ctranslate2_writes_the_same_greedy_text_from_the_same_logits(family, kind, tmp_path):
    ct2 = importlib.import_module("ctranslate2")
    ours = exported(tmp_path / "model", family, kind)
    ct2.converters.TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "there"))
    theirs = ct2.Generator(str(tmp_path / "there"), compute_type="float32", intra_threads=1)
    tokenizer = tokenizer_of(ours)
    prompt = tokenizer.encode(PROMPT)
    names = [tokenizer.vocabulary.names[i] for i in prompt]
    scored = torch.tensor(np.array(theirs.forward_batch([names])))[0]
    assert (scored - logits(ours, prompt)).abs().max() < CLOSE
    said = theirs.generate_batch(
        [names], max_length=NEW, sampling_topk=1, end_token=[], include_prompt_in_result=False
    )
    assert said[0].sequences_ids[0] == greedy(ours, prompt)
