"""What a server and the process that writes a model's texts tell each other: lines of JSON.

To the process: the model, then ``texts`` to begin, numbers of texts to ``cancel``, and whether to
``leave`` or ``retire``. From it: ``slots`` once it is ready; then of texts, by their numbers, the
prompts' tokens that were ``scored``, ``new`` tokens with their times, and how texts ``ended``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, Any

import pydantic_core
import safetensors.torch

from glassformer.errors import GlassformerError
from glassformer.generation.batch import Chosen, Sink, Text, bare
from glassformer.generation.rules import Rules
from glassformer.generation.sampling import Sampling, sampling_of
from glassformer.model import Config, Decoder
from glassformer.server.errors import ApiError, code_of

PLAIN = Sampling()

READ: dict[str, Callable[[Any], Any]] = {
    "sampling": lambda settings: sampling_of(**settings),
    "stop_ids": frozenset,
    "bias": dict,
    "rules": lambda rules: Rules(*map(tuple, rules)),
}
"""How fields of a text are read that JSON has in another form."""


def line(message: dict[str, Any]) -> bytes:
    return pydantic_core.to_json(message) + b"\n"


def read_line(content: bytes) -> Any:
    """What `line` wrote, to the last bit; five times as fast as Python's own."""
    return pydantic_core.from_json(content)


def written_model(model: Decoder) -> bytes:
    """A model as its configuration and its weights."""
    weights = safetensors.torch.save(
        {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    )
    return line({"config": model.config.to_dict(), "bytes": len(weights)}) + weights


def read_model(source: IO[bytes]) -> Decoder | None:
    """The model that `written_model` wrote, with the same numbers; None: not all of it came."""
    about = read_line(source.readline() or b"null")
    data = source.read(about["bytes"]) if about else b""
    if not about or len(data) < about["bytes"]:
        return None
    weights = safetensors.torch.load(data)
    model = Decoder(Config.from_dict(about["config"])).to(weights["embed.W_E"].dtype)
    model.load_state_dict(weights)
    return model


def written(text: Text) -> dict[str, Any]:
    """A text that is to begin; what is as it mostly is goes without saying."""
    fields: dict[str, Any] = {"prompt": text.prompt, "max_new": text.max_new, "seed": text.seed}
    if text.sampling != PLAIN:
        fields["sampling"] = text.sampling.to_dict()
    if text.stop_ids:
        fields["stop_ids"] = [*text.stop_ids]
    if text.logprobs is not None:
        fields["logprobs"] = text.logprobs
    if text.bias:
        fields["bias"] = [*text.bias.items()]
    if any(text.rules):
        fields["rules"] = text.rules
    return fields | {name: True for name in ("score", "at_once") if getattr(text, name)}


def read(fields: dict[str, Any], sink: Sink) -> Text:
    """The text that `written` wrote, for another sink."""
    rest = {name: READ[name](value) for name, value in fields.items() if name in READ}
    return Text(sink=sink, **fields | rest)


def written_tokens(tokens: Sequence[Chosen]) -> list[Any]:
    """Tokens of which nobody asked for more are numbers."""
    return [one.token if one.logprob is None else one for one in tokens]


def read_tokens(tokens: Sequence[Any]) -> list[Chosen]:
    return [bare(one) if isinstance(one, int) else _chosen(*one) for one in tokens]


def _chosen(token: int, logprob: float, likeliest: list[list[Any]]) -> Chosen:
    return Chosen(token, logprob, tuple((other, log) for other, log in likeliest))


def written_error(error: Exception | None) -> list[str] | None:
    """Its code, none for a fault of ours, and its words."""
    if error is None:
        return None
    return [code_of(error) if isinstance(error, GlassformerError) else "", str(error)]


def read_error(fields: list[str] | None) -> Exception | None:
    if fields is None:
        return None
    code, words = fields
    return ApiError(code, words) if code else RuntimeError(words)
