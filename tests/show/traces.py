"""Traces for the tests of what is shown: random models, tokens that are hard to show."""

from io import StringIO

import torch
from rich.console import Console

from glassformer.model.config import Config
from glassformer.model.decoder import Decoder
from glassformer.trace import Trace

WORDS = ["the", " cat", "\n", "\x1b[31m", "<script>", "日本", "\u202e", "é", "$x^2$", "a" * 30]


def word(token: int) -> str:
    return WORDS[token] if token < len(WORDS) else f" w{token}"


def small(n: int = 5, *, batch: int = 1, targets: bool = False, **changes: object) -> Trace:
    """A trace of `n` tokens through a random model with a vocabulary of 12."""
    config = Config(vocab_size=12, n_ctx=64, d_model=8, n_layers=2, n_heads=2, d_mlp=12)
    return watched(config.replace(**changes), n, batch, targets)


def wide(n: int = 20) -> Trace:
    """A trace through a model that fits no terminal."""
    return watched(Config(vocab_size=300, n_ctx=64, d_model=96, n_layers=5, n_heads=6), n)


def watched(config: Config, n: int, batch: int = 1, targets: bool = False) -> Trace:
    torch.manual_seed(0)
    model = Decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    ids = torch.arange(n * batch).view(batch, n) % config.vocab_size
    trace = model.watch(ids, (ids + 1) % config.vocab_size if targets else None)
    trace.labels = {
        "pos": [word(token) for token in ids[0].tolist()],
        "vocab": [word(token) for token in range(config.vocab_size)],
    }
    return trace


class Screen:
    """A console of a given width whose text can be read back."""

    def __init__(self, width: int = 80, *, color: bool = False, encoding: str = "utf-8") -> None:
        self.file = _Encoded(encoding)
        self.console = Console(
            file=self.file, width=width, force_terminal=color, highlight=False, _environ={}
        )

    @property
    def text(self) -> str:
        return self.file.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class _Encoded(StringIO):
    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding
