"""A corpus larger than the memory it is given: a generated file of 1 GB becomes a shard."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

GIGABYTE = 10**9

# Runs in a process of its own, so that its memory is its own. RssAnon is what can't be dropped
# and read again from a file: the heap, not the memory map or the page cache.
PROGRAM = """
import json, sys, threading, time
from pathlib import Path
from glassformer.text.blocks import Blocks
from glassformer.text.corpus import Corpus
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer

def anonymous_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])

def sample():
    while running:
        peak.append(max(peak.pop(), anonymous_bytes()))
        time.sleep(0.02)

start, peak, running = anonymous_bytes(), [0], True
sampler = threading.Thread(target=sample)
sampler.start()
begin = time.monotonic()
corpus = Corpus(sys.argv[1])
tokenizer = Tokenizer.load(sys.argv[2])
shard = write_shard(sys.argv[3], corpus.pieces(), tokenizer)
seconds = dict(wall=time.monotonic() - begin, cpu=time.process_time())
blocks = Blocks(shard, n_ctx=256)
for step in range(100):
    blocks.batch(step, seed=0, batch_size=8)
running = False
sampler.join()
print(json.dumps(dict(start=start, peak=peak[0], seconds=seconds, n_tokens=len(shard),
                      n_bytes=shard.header.n_bytes, tokens=shard.header.dtype)))
"""


def write_words(path: Path, n_bytes: int) -> None:
    """Write lines of pseudo-random words, 20,000 different ones, the frequent ones short."""
    syllables = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
    state, written = 1, 0
    with path.open("w") as file:
        while written < n_bytes:
            words = []
            for _ in range(20_000):
                state = state * 6364136223846793005 + 1442695040888963407 & (2**64 - 1)
                rank = int(20_000 ** ((state >> 33) / 2**31))  # Zipf's law: density 1 / rank
                word = syllables[rank % 90] + (syllables[rank // 90 % 90] if rank >= 90 else "")
                words += [word, {0: ". ", 1: "\n"}.get(state >> 60, " ")]
            text = "".join(words)
            for _ in range(min(10, 1 + (n_bytes - written) // len(text))):
                file.write(text)
                written += len(text)


def write_parquet(path: Path, text: Path) -> None:
    """The same lines as rows, 100 MB in a row group."""
    schema = pyarrow.schema({"text": pyarrow.string()})
    with (
        text.open() as file,
        parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer,
    ):
        while lines := file.readlines(10**8):
            writer.write_table(pyarrow.table({"text": lines}, schema))


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["txt", "parquet"])
def test_a_file_of_1_gb_becomes_a_shard_in_less_anonymous_memory(tmp_path, form):
    from glassformer.text.tokenizer import Tokenizer

    text = tmp_path / "large.txt"
    write_words(text, GIGABYTE)
    with text.open() as file:
        Tokenizer.train("bpe", [file.read(2_000_000)], vocab_size=2048).save(tmp_path / "tokenizer")
    size = text.stat().st_size
    if form == "parquet":
        write_parquet(tmp_path / "large.parquet", text)
        text.unlink()
        text = tmp_path / "large.parquet"
        assert text.stat().st_size >= GIGABYTE
    paths = [str(text), str(tmp_path / "tokenizer"), str(tmp_path / "shard")]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(result.stdout)
    print(figures)
    assert figures["n_bytes"] == size >= GIGABYTE
    assert figures["peak"] < GIGABYTE / 2  # the same for ten times the text
    text.unlink()
