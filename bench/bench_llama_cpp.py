"""Decoding beside llama.cpp, which reads the GGUF that is exported: the honest reference for a CPU.

Llama 0.1B and Qwen3-0.6B with random weights, all in fp32, a text of 64 tokens and some more;
greedy, prefill included, by packed weights here and behind llama.cpp's own server in this process
there (xllamacpp, extra `readers`). Processor time on one thread. It ends within two minutes on a
quiet core; most of them go into writing and reading the file of 0.6B.
"""

from __future__ import annotations

import importlib
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.bench_families import LENGTH, folders, ours, random_text
from bench.measure import Row, alternate, compare, one_thread
from glassformer.generation.packed import pack
from glassformer.interop import load
from glassformer.interop.export import GGUF
from glassformer.interop.gguf_file import write_gguf

NEW = {"llama 0.1B": 32, "qwen3 0.6B": 8}
OURS, PEER = "ours", "llama.cpp"


def run(seconds: float) -> Iterator[Row]:
    with one_thread():
        for name, folder in folders(NEW):
            yield of_model(name, folder, NEW[name], seconds / len(NEW))


def of_model(name: str, folder: Path, new: int, seconds: float) -> Row:
    model, tokenizer = load(folder, dtype=torch.float32)
    assert tokenizer is not None, "it was saved beside the model"
    write_gguf(model, tokenizer, folder / GGUF)
    size = (folder / GGUF).stat().st_size / 1e9
    ids = random_text()
    contestants = {
        OURS: partial(ours, pack(model), ids[0], new),
        PEER: llama_cpp(folder / GGUF, ids, new),
    }
    del model  # the packed weights are enough
    times = alternate(contestants, seconds, clock=time.process_time)
    return compare(f"{name}, {size:.1f} GB of GGUF, decode", times, OURS, PEER, None, new)


def llama_cpp(path: Path, ids: Tensor, new: int) -> Callable[[], None]:
    xl = importlib.import_module("xllamacpp")
    params = xl.CommonParams()
    params.model.path = str(path)
    params.n_ctx = params.n_batch = params.n_ubatch = LENGTH + new
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    server = xl.Server(params)
    opened = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    asked = {
        "prompt": ids[0].tolist(),
        "n_predict": new,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }

    def once() -> None:
        request = urllib.request.Request(
            server.listening_address + "/completion",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        with opened(request, timeout=600) as answer:
            assert json.load(answer)["tokens_predicted"] == new

    return once
