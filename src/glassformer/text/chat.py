"""Chats become texts by a template, in a sandbox; and what of them the assistant said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import numpy as np
import tokenizers

from glassformer.errors import GlassformerError
from glassformer.text.template_sandbox import BoundedEnvironment, rendered_in_time
from glassformer.text.tokenizer import Tokenizer

Message = Mapping[str, Any]
"""A message's `role` and `content`, both texts; some have a `name`."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For a tokenizer that was made for chats and has no template: its marks say in which form."""

MARKS = ("<|im_start|>", "<|im_end|>")

PLAIN = (
    "{% for message in messages %}{{ message['role'] + ':\\n' + message['content'] }}"
    "{{ eos_token or '' }}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)
"""For a tokenizer that was not made for chats: who speaks, in letters, and the end of a text."""

_BEGIN, _END = "\ufdd0", "\ufdd1"  # no text may hold these two; around what was generated


class ChatError(GlassformerError):
    """A chat that a template can't take."""


class RenderedChat(NamedTuple):
    """A chat's tokens, and which of them the assistant said: [token] each."""

    ids: np.ndarray
    is_reply: np.ndarray


def usual_template(tokenizer: Tokenizer) -> str | None:
    """A tokenizer's own template, or the one that its marks speak for; None for other texts."""
    if tokenizer.chat_template is not None:
        return tokenizer.chat_template
    return CHATML if set(MARKS) <= set(tokenizer.special_names) else None


def prompt_ids(template: str, tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The tokens of a chat up to where the assistant goes on.

    Errors: messages that the template refuses, or that hold one of the tokens that separate
    messages, which would let a text speak in another's name.
    """
    _check_marks(tokenizer, messages)
    text = rendered(template, messages, tokenizer.named_tokens, asks=True)
    return _encoding(tokenizer, text).ids


def render_chat(template: str, tokenizer: Tokenizer, messages: Sequence[Message]) -> RenderedChat:
    """A whole chat, and which of its tokens are the assistant's, the end of a message included.

    They are what the template puts between ``{% generation %}`` and ``{% endgeneration %}``, as in
    `transformers`; of a template without these tags it is what an assistant's message adds to the
    text that asks for it.

    Errors: as `prompt_ids`; a template that writes earlier messages in another way later.
    """
    _check_marks(tokenizer, messages)
    text, spans = _spans(template, messages, tokenizer.named_tokens)
    encoding = _encoding(tokenizer, text)
    is_reply = np.zeros(len(encoding.ids), dtype=bool)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    for begin, end in spans:
        is_reply |= (offsets[:, 0] < end) & (offsets[:, 1] > begin)
    return RenderedChat(np.array(encoding.ids, dtype=np.int64), is_reply)


def rendered(
    template: str, messages: Sequence[Message], names: Mapping[str, str], asks: bool = False
) -> str:
    """The text that a template makes of messages, as `transformers` does it.

    names: special tokens by role, such as `eos_token`. asks: with what makes the assistant go on.
    """
    return _marked(template, messages, names, asks).replace(_BEGIN, "").replace(_END, "")


def _spans(
    template: str, messages: Sequence[Message], names: Mapping[str, str]
) -> tuple[str, list[tuple[int, int]]]:
    """A chat's text, and where in it the assistant's parts begin and end."""
    marked = _marked(template, messages, names, asks=False)
    if _BEGIN in marked:
        return _unmarked(marked)
    return marked, [*_added(template, messages, names, marked)]


def _unmarked(marked: str) -> tuple[str, list[tuple[int, int]]]:
    text, spans = "", []
    for part in marked.split(_BEGIN):
        reply, end, rest = part.partition(_END)
        if end:
            spans.append((len(text), len(text) + len(reply)))
        text += reply + rest
    return text, spans


def _added(
    template: str, messages: Sequence[Message], names: Mapping[str, str], text: str
) -> Iterator[tuple[int, int]]:
    """Where each message of the assistant stands: behind the text that asks for it."""
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = rendered(template, messages[:number], names, asks=True)
        after = rendered(template, messages[: number + 1], names)
        if not (after.startswith(before) and text.startswith(after)):
            raise ChatError(
                f"the chat template writes what comes before message {number + 1} in another way"
                " once the assistant has said it, so its reply can't be told apart; put"
                " {% generation %} and {% endgeneration %} around it in the template"
            )
        yield len(before), len(after)


def _check_marks(tokenizer: Tokenizer, messages: Sequence[Message]) -> None:
    for message in messages:
        content = message["content"]
        held = next((name for name in tokenizer.special_names if name in content), None)
        if held is not None:
            raise ChatError(f"{held!r} in a message would be read as the mark it is; leave it out")


class _RefusedError(Exception):
    """What a template says of messages that it can't take."""


def _marked(
    template: str, messages: Sequence[Message], names: Mapping[str, str], asks: bool
) -> str:
    compiled = _compiled(template)
    try:
        return rendered_in_time(compiled, messages=[*messages], add_generation_prompt=asks, **names)
    except _RefusedError as error:
        raise ChatError(f"the model's chat template says: {error}") from error
    except Exception as error:  # it is a program, which may fail in any way
        why = str(error) or type(error).__name__
        raise ChatError(f"the model's chat template can't take these messages: {why}") from error


class _Generation(jinja2.ext.Extension):
    """``{% generation %}``, which stands around what a model generates."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_around")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _around(self, caller: Any) -> str:
        return f"{_BEGIN}{caller()}{_END}"


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    def refuse(message: str) -> NoReturn:
        raise _RefusedError(message)

    environment = BoundedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except (jinja2.TemplateError, SyntaxError, RecursionError) as error:
        raise GlassformerError(
            f"the tokenizer's chat_template is no template: {error}; mend it in the model's folder"
        ) from error


def _encoding(tokenizer: Tokenizer, text: str) -> tokenizers.Encoding:
    """The tokens of a rendered chat, and where in it each stands."""
    try:
        return tokenizer.encoding(text, _engine(tokenizer))
    except GlassformerError as error:  # a word that it has not
        raise ChatError(str(error)) from error


@lru_cache(maxsize=8)
def _engine(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A tokenizer that reads the template's marks as the tokens they are."""
    engine = tokenizers.Tokenizer.from_str(tokenizer.engine.to_str())
    engine.encode_special_tokens = False
    return engine
