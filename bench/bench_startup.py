"""From the shell: `glassformer --help`, and the first token of `ask` on a model like the demo's.

Each run is a process of its own, timed from its start until the first new character after the
prompt has come through the pipe. Beside `ask` stands what importing torch alone takes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from bench.measure import Row, alternate, compare
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.storyland import documents

HELP, ASK, TORCH, NOTHING = "--help", "ask", "import torch", "python"
PROMPT = "Once"


def run(seconds: float) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        texts = [document.text for document in documents("bench", 400)]
        tokenizer = Tokenizer.train("bpe", texts)
        config = Config.preset("storyland").replace(vocab_size=tokenizer.vocab_size)
        save(Decoder(config), tokenizer, folder)
        glassformer = [sys.executable, "-m", "glassformer"]
        runs: dict[str, Callable[[], object]] = {
            HELP: partial(to_its_end, [*glassformer, "--help"]),
            ASK: partial(to_first_token, [*glassformer, "ask", folder, PROMPT, "--seed", "0"]),
            TORCH: partial(to_its_end, [sys.executable, "-c", "import torch"]),
            NOTHING: partial(to_its_end, [sys.executable, "-c", "pass"]),
        }
        times = alternate(runs, seconds)
    for what, peer, limit in ((HELP, NOTHING, 0.4), (ASK, TORCH, 2.5)):
        yield compare(what, times, what, peer)
        ordered = sorted(times[what])
        median = ordered[len(ordered) // 2]
        yield Row(f"{what}, seconds", median, "s", target=("<=", limit), rounds=len(ordered))


def to_its_end(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def to_first_token(command: list[str]) -> None:
    """Run until more than the prompt has been written."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        came = process.stdout.read(len(PROMPT) + 1)
        process.kill()
    assert len(came) == len(PROMPT) + 1
