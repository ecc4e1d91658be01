"""Chats become texts: by the tokenizer's own template, which runs in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.sandbox
import tokenizers

from glassformer.errors import GlassformerError
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.schemas import Message
from glassformer.text.tokenizer import Tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For a tokenizer that was made for chats and has no template: its marks say in which form."""

MARKS = ("<|im_start|>", "<|im_end|>")


class _RefusedError(Exception):
    """What a template says of messages that it can't take."""


def chat_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The tokens of a chat up to where the assistant goes on.

    Errors: a tokenizer without a template, messages that the template refuses, or that hold one of
    the tokens that separate messages, which would let a text speak in another's name.
    """
    template = tokenizer.chat_template or _usual(tokenizer)
    if template is None:
        raise FieldError(
            "messages",
            "this model's tokenizer has no chat_template, so it was not made for chats; use"
            " /v1/completions, or put a chat_template.jinja into the model's folder",
        )
    special = tokenizer.special_names
    for message in messages:
        held = next((name for name in special if name in message.text), None)
        if held is not None:
            raise FieldError(
                "messages", f"{held!r} in a message would be read as the mark it is; leave it out"
            )
    text = rendered(template, tokenizer, messages)
    return _engine(tokenizer).encode(text, add_special_tokens=False).ids


def rendered(template: str, tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """The text that a template makes of messages, as `transformers` does it."""
    given: list[dict[str, Any]] = [
        {"role": message.role, "content": message.text}
        | ({} if message.name is None else {"name": message.name})
        for message in messages
    ]
    try:
        return _compiled(template).render(
            messages=given, add_generation_prompt=True, **tokenizer.named_tokens
        )
    except _RefusedError as error:
        raise FieldError("messages", f"the model's chat template says: {error}") from error
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise FieldError(
            "messages", f"the model's chat template can't take these messages: {error}"
        ) from error


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    def refuse(message: str) -> NoReturn:
        raise _RefusedError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise GlassformerError(
            f"the tokenizer's chat_template is no template: {error}; mend it in the model's folder"
        ) from error


def _usual(tokenizer: Tokenizer) -> str | None:
    return CHATML if set(MARKS) <= set(tokenizer.special_names) else None


@lru_cache(maxsize=8)
def _engine(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A tokenizer that reads the template's marks as the tokens they are."""
    engine = tokenizers.Tokenizer.from_str(tokenizer.engine.to_str())
    engine.encode_special_tokens = False
    return engine
