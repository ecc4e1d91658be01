"""What a server and the process that writes a model's texts tell each other: lines of JSON.

To the process: the model, then ``texts`` to begin, numbers of texts to ``cancel``, and whether to
``leave`` or ``retire``. From it: ``slots`` once it is ready; then of texts, by their numbers, the
prompts' tokens that were ``scored``, ``new`` tokens with their times, and how texts ``ended``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import pydantic_core
import safetensors.torch

from glassformer.errors import GlassformerError
from glassformer.generation.batch import Chosen, Sink, Text, bare
from glassformer.generation.rules import Rules
from glassformer.generation.sampling import sampling_of
from glassformer.model import Config, Decoder
from glassformer.server.errors import ApiError, code_of


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
    """A text that is to begin."""
    return {
        "prompt": text.prompt,
        "max_new": text.max_new,
        "sampling": text.sampling.to_dict(),
        "seed": text.seed,
        "stop_ids": [*text.stop_ids],
        "logprobs": text.logprobs,
        "score": text.score,
        "bias": [*text.bias.items()],
        "rules": text.rules,
        "at_once": text.at_once,
    }


def read(fields: dict[str, Any], sink: Sink) -> Text:
    """The text that `written` wrote, for another sink."""
    return Text(
        **fields
        | {
            "sink": sink,
            "sampling": sampling_of(**fields["sampling"]),
            "stop_ids": frozenset(fields["stop_ids"]),
            "bias": dict(fields["bias"]),
            "rules": Rules(*map(tuple, fields["rules"])),
        }
    )


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
