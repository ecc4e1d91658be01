"""Models of the sizes that people use: opened in the memory of their weights, asked and traced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_sizes import write

pytestmark = pytest.mark.heavy  # gigabytes of weights

OPENED = 1.2  # times the weights; their tokenizer, rotary tables and what is being read among it
AT_ONCE = 4  # of the largest value of a pass, the logits, while one is made from another

MEASURE = """
import json, sys
import torch
import glassformer as gf
from bench.measure import peak_bytes

gf.load("miniature")  # what is imported when a first model is opened
torch.zeros(1, device="meta") + 1
opened = []
result = {"opened": peak_bytes(lambda: opened.append(gf.load(sys.argv[1])))}
model, tokenizer = opened[0]
result["dtype"] = str(model.embed.W_E.dtype)
ids = tokenizer.encode("the cat sat on the mat " * 30)[:64]
result["answer"] = len(list(gf.generate(model, ids, max_new_tokens=4, temperature=0)))
model.watch([ids], keep="logits")  # the vocabulary's texts are spelled once
for keep in ("*.resid_post,logits", "*"):
    made = []
    peak = peak_bytes(lambda: made.append(model.watch([ids], keep=keep)))
    result[keep] = {"held": made[0].nbytes, "peak": peak}
    result["logits"] = made[0]["logits"].nbytes
    if keep == "*":
        result["agrees"] = made[0].explain("logits[pos=63,vocab=7]").agrees
print(json.dumps(result))
"""


@pytest.mark.parametrize("name", ["qwen3 0.6B", "llama 1B"])
def test_it_takes_its_weights_memory_and_what_a_trace_says(name: str, tmp_path: Path) -> None:
    weights = write(name, tmp_path / "model")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["dtype"] == "torch.bfloat16"
    if result["opened"] is None:
        pytest.fail("peak memory is measured on Linux only; run this test there")
    assert result["opened"] <= OPENED * weights
    assert result["answer"] == 4
    assert result["agrees"]
    for keep in ("*.resid_post,logits", "*"):
        held, peak = result[keep]["held"], result[keep]["peak"]
        assert peak <= held + AT_ONCE * result["logits"], keep
    few = result["*.resid_post,logits"]["held"]
    assert few < 0.12 * result["*"]["held"]
