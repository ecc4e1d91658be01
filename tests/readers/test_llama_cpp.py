"""What `export --to gguf` writes is read by llama.cpp, through xllamacpp and its own server."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import urllib.request
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.interop.export import GGUF
from tests.readers.exported import NEW, PROMPT, exported, greedy, logits, strings, tokenizer_of

pytestmark = pytest.mark.heavy

CLOSE = 1e-5  # float32, the same sums in another order
BY_TABLE = 5e-3  # llama.cpp looks GELU up in a table of half precision
CASES = [(family, kind) for family in ("llama", "qwen3", "gpt2") for kind in ("bpe", "chars")]


class LlamaCpp:
    """A model behind llama.cpp's server, in this process, all in float32."""

    def __init__(self, path: Path) -> None:
        xl = importlib.import_module("xllamacpp")
        params = xl.CommonParams()
        params.model.path = str(path)
        params.n_ctx = params.n_batch = params.n_ubatch = 96
        params.n_parallel = params.cpuparams.n_threads = 1
        params.warmup = False
        params.cache_type_k = params.cache_type_v = xl.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xl.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xl.Server(params)
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of the server on this machine's own address."""
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        return json.loads(self.open(request, timeout=60).read())


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request, tmp_path_factory):
    """The model as it is here, llama.cpp with the same model, and how close they must be."""
    family, kind = request.param
    folder = tmp_path_factory.mktemp("gguf") / "out"
    ours = exported(folder, family, kind, "gguf")
    return ours, LlamaCpp(folder / GGUF), BY_TABLE if family == "gpt2" else CLOSE


def test_llama_cpp_is_installed():
    assert importlib.util.find_spec("xllamacpp"), "pip install -e '.[readers]'"


def test_llama_cpp_gives_a_thousand_texts_the_same_ids(case):
    ours, theirs, _ = case
    for text in strings():
        ids = theirs.post("/tokenize", {"content": text, "add_special": True})["tokens"]
        assert ids == tokenizer_of(ours).encode(text), text


def test_llama_cpp_writes_the_same_greedy_text_from_the_same_logits(case):
    ours, theirs, tolerance = case
    prompt = tokenizer_of(ours).encode(PROMPT)
    n = ours.config.vocab_size
    asked = {"temperature": 0, "top_k": 1, "n_probs": n, "cache_prompt": False}
    said = theirs.post(
        "/completion",
        {"prompt": prompt, "n_predict": NEW, "return_tokens": True, "ignore_eos": True, **asked},
    )
    assert said["tokens"] == greedy(ours, prompt)
    # the server gives log-probabilities: logits less one number, which cancels here
    first = said["completion_probabilities"][0]["top_logprobs"]
    # of the exact ones: what float32 loses here and there would add up
    logprobs = torch.log_softmax(logits(deepcopy(ours).double(), prompt)[-1], -1)
    assert len(first) == n
    for token in first:
        assert math.isclose(token["logprob"], logprobs[token["id"]].item(), abs_tol=tolerance)
