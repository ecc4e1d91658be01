"""The vocabulary: each token's id and name, and what it stands for, as bytes and as readable text.

A vocabulary spells tokens so that a JSON file can hold them: byte-level BPE writes a space as `Ġ`,
byte fallback writes the byte 0xE2 as `<0xE2>`, SentencePiece writes a space as `▁`.
"""

import operator
import re
from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial
from typing import Any, NamedTuple, SupportsIndex

import tokenizers

from glassformer.errors import GlassformerError, did_you_mean

_BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")
_STEERING = {*range(32), 127} - {*map(ord, "\t\n\r")}


def byte_name(byte: int) -> str:
    """Return the name of a byte that is a token of its own.

    >>> byte_name(226)
    '<0xE2>'
    """
    return f"<0x{byte:02X}>"


@cache
def byte_of_letter() -> dict[str, int]:
    """Return the byte that each of byte-level BPE's 256 letters stands for.

    A byte that prints in Latin-1 is its own letter; the other 68 take the letters from U+0100 on.
    Source: Radford et al. 2019, GPT-2's `bytes_to_unicode`.

    >>> byte_of_letter()["A"], byte_of_letter()["Ġ"]
    (65, 32)
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + index): byte for index, byte in enumerate(others)
    }


def is_byte(token: str) -> bool:
    """Whether a token's text is the name of a byte.

    >>> is_byte("<0xE2>"), is_byte("e")
    (True, False)
    """
    return _BYTE_NAME.fullmatch(token) is not None


def readable(raw: bytes) -> str:
    """Return bytes as text, or by their hexadecimal names when they are no whole characters.

    >>> readable(b" cat"), readable(b"\\xe2\\x82")
    (' cat', '<0xE2><0x82>')
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(map(byte_name, raw))


def spelling(engine: dict[str, Any]) -> Callable[[str], bytes]:
    """Return the function from a token's name to its bytes, for the content of a tokenizer.json.

    >>> spelling({"decoder": {"type": "ByteLevel"}, "model": {}})("Ġcat")
    b' cat'
    >>> spelling({"model": {"byte_fallback": True}})("<0xE2>")
    b'\\xe2'
    """
    stages = [*_stages(engine.get("pre_tokenizer")), *_stages(engine.get("decoder"))]
    if any(stage["type"] == "ByteLevel" for stage in stages):
        return _letters_to_bytes
    has_byte_names = bool(engine["model"].get("byte_fallback"))
    writes_spaces = any(
        stage["type"] == "Metaspace" or stage.get("pattern") == {"String": "▁"} for stage in stages
    )

    return partial(_name_to_bytes, has_byte_names, writes_spaces)


def _name_to_bytes(has_byte_names: bool, writes_spaces: bool, name: str) -> bytes:
    byte = _BYTE_NAME.fullmatch(name) if has_byte_names else None
    if byte:
        return bytes([int(byte[1], 16)])
    return (name.replace("▁", " ") if writes_spaces else name).encode()


def stripped_by_byte_fallback(engine: dict[str, Any]) -> str | None:
    """What decoding takes away at a text's start, where it otherwise joins the tokens' bytes.

    None: it does more than that, or has no tokens of single bytes.

    >>> stripped_by_byte_fallback({"decoder": {"type": "ByteFallback"}})
    ''
    """
    stages = [*_stages(engine.get("decoder"))]
    if {"type": "ByteFallback"} not in stages:
        return None
    stripped = ""
    for stage in stages:
        match stage:
            case {"type": "Strip", "content": " ", "start": 0 | 1 as start, "stop": 0}:
                stripped = " " * start
            case {"type": "ByteFallback" | "Fuse"}:
                pass
            case {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}:
                pass
            case _:
                return None
    return stripped


def _letters_to_bytes(name: str) -> bytes:
    byte_of = byte_of_letter()
    if all(letter in byte_of for letter in name):
        return bytes(byte_of[letter] for letter in name)
    return name.encode()  # a token added beside the merges is spelled as plain text


def _stages(stage: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield a stage of the pipeline, or the stages of a sequence."""
    if stage is None:
        return
    parts = stage.get("decoders") or stage.get("pretokenizers")
    if parts is None:
        yield stage
        return
    for part in parts:
        yield from _stages(part)


def _is_byte(text: str) -> bool:
    """Whether a token's text is a byte by its name, or a sign that steers and is not written."""
    return bool(_BYTE_NAME.fullmatch(text)) or (len(text) == 1 and ord(text) in _STEERING)


class Listing(NamedTuple):
    """The ids of a vocabulary: of pieces of text, of special tokens, of single bytes."""

    text: list[int]
    special: list[int]
    bytes: list[int]


class Vocabulary:
    """The tokens of an engine: their names, what they stand for, and their ids.

    `content` is what the engine's tokenizer.json holds.
    """

    def __init__(self, engine: tokenizers.Tokenizer, content: dict[str, Any]) -> None:
        ids = engine.get_vocab(with_added_tokens=True)
        self.names = [""] * (max(ids.values()) + 1)  # "" where one from elsewhere leaves an id out
        for name, token_id in ids.items():
            self.names[token_id] = name
        added = engine.get_added_tokens_decoder()
        self.special = {token.content for token in added.values() if token.special}
        for token_id, token in added.items():  # decoding takes some as they are when normalized
            if not token.special:
                self.names[token_id] = engine.id_to_token(token_id) or token.content
        unk = content["model"].get("unk_token")
        self.unk_id: int | None = content["model"].get("unk_id") if unk is None else ids.get(unk)
        self._id_of_name = ids
        self._spell = spelling(content)
        self._spelled: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.names)

    def show(self, name: str) -> str:
        """Return the text of the token that the vocabulary calls `name`."""
        if name in self.special or _BYTE_NAME.fullmatch(name):
            return name
        return readable(self._spell(name))

    def text(self, token_id: SupportsIndex) -> str:
        return self.show(self.names[self.known(token_id)])

    def bytes(self, token_id: SupportsIndex) -> bytes:
        known = self.known(token_id)
        if known not in self._spelled:  # a stream asks for it at each of its tokens
            name = self.names[known]
            is_silent = name in self.special or known == self.unk_id
            self._spelled[known] = b"" if is_silent else self._spell(name)
        return self._spelled[known]

    @cached_property
    def id_of_text(self) -> dict[str, int]:
        """The id of each token's text, the lowest where two tokens share one."""
        return {self.text(token_id): token_id for token_id in reversed(range(len(self)))}

    def id(self, token: str) -> int:
        token_id = self.id_of_text.get(token, self._id_of_name.get(token))
        if token_id is None:
            raise GlassformerError(
                f"{token!r} is not one of the {len(self):,} tokens."
                f"{did_you_mean(token, self.id_of_text)} `glassformer tokenize` lists those of a"
                " text"
            )
        return token_id

    def listing(self) -> "Listing":
        """All ids in three parts, for people: what stands for text first, then special, then bytes.

        >>> from glassformer.text.tokenizer import Tokenizer
        >>> letters = Tokenizer.train("chars", ["the cat"]).vocabulary.listing()
        >>> letters.text, letters.special, len(letters.bytes)
        ([257, 258, 259, 260, 261, 262], [0], 256)
        """
        parts = Listing([], [], [])
        for token_id, name in enumerate(self.names):
            special = name in self.special or token_id == self.unk_id or not name
            is_byte = not special and _is_byte(self.show(name))
            (parts.special if special else parts.bytes if is_byte else parts.text).append(token_id)
        return parts

    def known(self, token_id: SupportsIndex) -> int:
        """Return the id if there is such a token, else raise."""
        token_id = operator.index(token_id)
        if not 0 <= token_id < len(self):
            raise GlassformerError(
                f"token {token_id} is not in this tokenizer, whose {len(self):,} tokens are 0 to "
                f"{len(self) - 1:,}; it may belong to another model"
            )
        return token_id
