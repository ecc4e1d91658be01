"""Encoding a corpus: tiktoken with a tokenizer's merges against the tokenizer's own engine.

Storyland in pieces of 128 KB, as a corpus is read; both use all cores, and their ids are compared
first. Training stays the engine's own, so it has no peer. Writing a shard is encoding, and hashing
and writing the tokens; its peak memory must not grow with the text.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.measure import Row, alternate, peak_bytes, ratio
from glassformer.text.corpus import Corpus
from glassformer.text.reading import BLOCK_BYTES
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.storyland import documents

BULK, ENGINE = "tiktoken", "tokenizers"
TEXT_BYTES = 4 * 2**20
VOCAB_SIZES = (512, 4096)
COPIES = (8, 64)  # of the text: the sizes of two files that are written as shards


def run(seconds: float) -> Iterator[Row]:
    text = storyland()
    pieces = [text[i : i + BLOCK_BYTES] for i in range(0, len(text), BLOCK_BYTES)]
    megabytes = sum(len(piece.encode()) for piece in pieces) / 1e6
    for vocab_size in VOCAB_SIZES:
        start = time.perf_counter()
        tokenizer = Tokenizer.train("bpe", pieces[:8], vocab_size=vocab_size)
        took = time.perf_counter() - start
        trained_on = sum(len(piece.encode()) for piece in pieces[:8]) / 1e6
        yield Row(f"train, vocabulary {tokenizer.vocab_size}", trained_on / took, "MB/s")
        fast, one_by_one = tokenizer.encode_arrays(pieces), tokenizer.encode_batch(pieces)
        assert [ids.tolist() for ids in fast] == one_by_one, "the ids differ"
        times = alternate(
            {
                BULK: partial(tokenizer.encode_arrays, pieces),
                ENGINE: partial(tokenizer.encode_batch, pieces),
            },
            seconds / 4,
        )
        ours, theirs = (megabytes / statistics.median(times[name]) for name in (BULK, ENGINE))
        yield Row(
            f"encode, vocabulary {tokenizer.vocab_size}",
            ours,
            "MB/s",
            ENGINE,
            theirs,
            ratio(times[ENGINE], times[BULK]),
            (">=", 4.0),
            len(times[BULK]),
        )
        if vocab_size == VOCAB_SIZES[-1]:
            yield from sharding(text, tokenizer)


def sharding(text: str, tokenizer: Tokenizer) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for copies in COPIES:
            file = Path(folder) / "corpus.txt"
            with file.open("w", encoding="utf-8") as out:
                for _ in range(copies):
                    out.write(text)
            size = file.stat().st_size / 1e6
            start = time.perf_counter()
            grown = peak_bytes(
                lambda file=file: write_shard(
                    Path(folder) / "shard", Corpus(file).pieces(), tokenizer
                )
            )
            taken = time.perf_counter() - start
            yield Row(f"shard of {size:,.0f} MB", size / taken, "MB/s")
            if grown is not None:
                yield Row(f"shard of {size:,.0f} MB: peak memory", grown / 1e6, "MB")


def storyland() -> str:
    pieces, length = [], 0
    for document in documents("bench", 10**6):
        pieces.append(document.text + "\n")
        length += len(pieces[-1])
        if length >= TEXT_BYTES:
            break
    return "".join(pieces)
