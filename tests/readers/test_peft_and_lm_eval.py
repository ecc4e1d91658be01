"""What `export` writes is trained further by peft and scored by lm-eval."""

from __future__ import annotations

import importlib
import importlib.util
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)
from tests.readers.exported import NEW, PROMPT, exported, greedy, logits, strings, tokenizer_of

pytestmark = pytest.mark.heavy

CLOSE = 1e-5  # float32, the same sums in another order


@pytest.mark.parametrize("name", ["peft", "lm_eval"])
def test_the_reader_is_installed(name):
    assert importlib.util.find_spec(name), "pip install -e '.[readers]'"


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_peft_starts_from_the_same_logits_and_learns(family, tmp_path):
    peft = importlib.import_module("peft")
    ours = exported(tmp_path / "model", family)
    ids = tokenizer_of(ours).encode(PROMPT)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    adapted = peft.get_peft_model(theirs, peft.LoraConfig(task_type="CAUSAL_LM", r=2))
    asked = torch.tensor([ids])
    with torch.no_grad():
        assert (adapted(asked).logits[0] - logits(ours, ids)).abs().max() < CLOSE
    said = adapted.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert said[0, len(ids) :].tolist() == greedy(ours, ids)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    before = adapted(asked, labels=asked).loss
    before.backward()
    optimizer.step()
    assert adapted(asked, labels=asked).loss < before


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_lm_eval_scores_a_text_as_we_do(family, tmp_path):
    hf = importlib.import_module("lm_eval.models.huggingface")
    api = importlib.import_module("lm_eval.api.instance")
    ours = exported(tmp_path / "model", family)
    tokenizer = tokenizer_of(ours)
    theirs = hf.HFLM(
        pretrained=str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=1
    )
    for text in strings():
        assert theirs.tok_encode(text) == tokenizer.encode(text), text
    context, rest = "the cat sat", " on the mat"
    asked = api.Instance("loglikelihood", {}, (context, rest), 0)
    [(log_probability, is_greedy)] = theirs.loglikelihood([asked], disable_tqdm=True)
    ids, start = tokenizer.encode(context + rest), len(tokenizer.encode(context))
    logprobs = torch.log_softmax(logits(ours, ids).double(), -1)
    chosen = [logprobs[pos - 1, ids[pos]].item() for pos in range(start, len(ids))]
    assert math.isclose(log_probability, sum(chosen), abs_tol=CLOSE * len(chosen))
    best = [int(logprobs[pos - 1].argmax()) for pos in range(start, len(ids))]
    assert is_greedy == (best == ids[start:])
