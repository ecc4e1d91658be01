"""Tracing off costs nothing: our silent model against the same calls without a tape.

The peer (`bench.plain.PlainGPT`) is plain PyTorch but for the product of matrices, which is ours in
both; `bench_train` has peers with PyTorch's own. Both have the same weights and give the same
logits, bit for bit. All figures are processor time on one thread: what is asked for is a percent,
and waiting for a second thread or for other programs is many. The target holds for the upper end of
the interval. Compiling for the first time adds some seconds to the first run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.measure import Row, alternate, compare, one_thread
from bench.plain import PlainGPT
from glassformer.model import Config, Decoder

OURS, PEER = "silent", "the same calls, no tape"
SMALL = Config(vocab_size=65, n_ctx=64, d_model=128, n_layers=4, n_heads=4)
LARGER = Config(vocab_size=512, n_ctx=128, d_model=384, n_layers=6, n_heads=6)
TARGET = ("<=", 1.03)
EAGER, COMPILED = "eager", "compiled"
SUBJECTS = (
    ("4 x 128", SMALL, 1, 4, (EAGER, COMPILED), 0.18),
    ("4 x 128", SMALL, 12, 1, (EAGER,), 0.07),
    ("6 x 384", LARGER, 4, 1, (EAGER,), 0.07),
)
"""Name, model, texts at once, calls in a turn, ways to run it, a row's share of the time."""


def run(seconds: float) -> Iterator[Row]:
    with one_thread():
        yield from compared(seconds)


def compared(seconds: float) -> Iterator[Row]:
    for name, config, rows, calls, ways, share in SUBJECTS:
        models = dict(zip((OURS, PEER), twins(config), strict=True))
        ids = torch.randint(config.vocab_size, (rows, config.n_ctx))
        targets = torch.randint(config.vocab_size, ids.shape)
        ours, plain = models.values()
        assert torch.equal(ours(ids), plain(ids)), "the peer is another model"
        for way in ways:
            made: Callable[[Any], Any] = torch.compile if way == COMPILED else lambda f: f
            forwards = {who: forward(made(model), ids) for who, model in models.items()}
            backwards = {
                who: backward(model, made(model.loss), ids, targets)
                for who, model in models.items()
            }
            for what, pair in (("forward", forwards), ("forward + backward", backwards)):
                times = alternate(pair, share * seconds, calls, time.process_time)
                row = f"{name}, {rows} x {config.n_ctx}: {what}, {way}"
                yield compare(row, times, OURS, PEER, TARGET, by_interval=True)


def forward(model: Callable[[Tensor], Tensor], ids: Tensor) -> Callable[[], None]:
    def once() -> None:
        with torch.no_grad():
            model(ids)

    return once


def backward(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], ids: Tensor, targets: Tensor
) -> Callable[[], None]:
    def once() -> None:
        model.zero_grad()
        loss(ids, targets).backward()

    return once


def twins(config: Config) -> tuple[Decoder, PlainGPT]:
    """Our model and the plain one with the same weights."""
    torch.manual_seed(0)
    ours, plain = Decoder(config).eval(), PlainGPT(config).eval()
    spelled = (("W_E", "weight"), ("W_pos", "weight"), (".w", ".weight"), (".b", ".bias"))
    renamed = {}
    for name, value in ours.state_dict().items():
        endings = (
            name.removesuffix(suffix) + its for suffix, its in spelled if name.endswith(suffix)
        )
        renamed[next(endings, name)] = value
    plain.load_state_dict(renamed)
    return ours, plain
