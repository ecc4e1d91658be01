"""Which tokens of a tokenizer have a role: separators, padding, the mask, what begins a text."""

import json
from functools import cached_property
from typing import Any

import tokenizers

from glassformer.text import tokenizer_files


class SpecialTokens:
    """The roles of tokens, as a tokenizer's folder names them; `eos` separates documents."""

    def __init__(
        self, engine: tokenizers.Tokenizer, eos: str | None, extra_files: tokenizer_files.ExtraFiles
    ) -> None:
        self.engine: tokenizers.Tokenizer = engine
        self.eos: str | None = eos
        self._extra_files = extra_files

    @property
    def eos_id(self) -> int | None:
        """The token between documents; None if this tokenizer has none."""
        return None if self.eos is None else self.engine.token_to_id(self.eos)

    @property
    def bos_id(self) -> int | None:
        """The token that a folder names as the first of a text; the separator if it names none."""
        bos = tokenizer_files.named(self._extra_files, self.engine, "bos_token")
        return self.eos_id if bos is None else self.engine.token_to_id(bos)

    @property
    def pad_id(self) -> int | None:
        """The token that a folder names to fill short texts up; nothing here needs one."""
        pad = tokenizer_files.named(self._extra_files, self.engine, "pad_token")
        return None if pad is None else self.engine.token_to_id(pad)

    @property
    def mask_id(self) -> int | None:
        """The token that stands for a hidden one; None if this tokenizer has none."""
        mask = self.mask
        return None if mask is None else self.engine.token_to_id(mask)

    @cached_property
    def mask(self) -> str | None:
        """That token's name: as the folder gives it, else a usual one."""
        mask = tokenizer_files.named(self._extra_files, self.engine, "mask_token")
        usual = (n for n in tokenizer_files.USUAL_MASK if self.engine.token_to_id(n) is not None)
        return mask or next(usual, None)

    @property
    def around(self) -> dict[str, int | None]:
        """The tokens that a folder names to stand around an encoder's text, by their settings."""
        named = {
            role: tokenizer_files.named(self._extra_files, self.engine, f"{role}_token")
            for role in ("cls", "sep")
        }
        return {
            f"{role}_token_id": self.engine.token_to_id(token)
            for role, token in named.items()
            if token is not None
        }

    @cached_property
    def chat_template(self) -> str | None:
        """The template that makes a text of a chat, as the folder gives it; None if it has none."""
        return tokenizer_files.chat_template(self._extra_files)

    @cached_property
    def special_names(self) -> list[str]:
        """The special tokens, which no text is ever read as."""
        added = self.engine.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special]

    @cached_property
    def named_tokens(self) -> dict[str, str]:
        """Role to token, of the roles that a folder names or this tokenizer has by itself."""
        roles = ("bos_token", "eos_token", "pad_token", "unk_token")
        named = {
            role: tokenizer_files.named(self._extra_files, self.engine, role) for role in roles
        }
        if self.eos is not None:
            named["eos_token"] = named["eos_token"] or self.eos
        return {role: token for role, token in named.items() if token is not None}

    @cached_property
    def begin_ids(self) -> list[int]:
        """What the tokenizer's own template puts before every text, as <s>; mostly nothing."""
        return tokenizer_files.begin_ids(self.content["post_processor"])

    @property
    def usual_separators(self) -> set[str]:
        """What stands between documents in the texts of others; letters like any, to `encode`."""
        return {*tokenizer_files.USUAL_EOS} | ({self.eos} if self.eos else set())

    @cached_property
    def content(self) -> dict[str, Any]:
        """What tokenizer.json says."""
        content: dict[str, Any] = json.loads(self.engine.to_str())
        return content
