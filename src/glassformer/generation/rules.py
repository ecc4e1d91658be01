"""Tokens that a model's folder forces or forbids: its generation_config.json, or config.json."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.folder_settings import FolderSettings


class Rules(NamedTuple):
    """`first` and `last` are what the first new token must be and, of the most there may be, the
    last; `never` are tokens that are not chosen, `not_at_first` not as the first new one.
    """

    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    not_at_first: tuple[int, ...] = ()

    def applied(self, scores: Tensor, index: int, is_last: bool) -> Tensor:
        """The scores [..., vocab] of new token number `index`, minus infinity for what may not be.

        >>> Rules(never=(1,)).applied(torch.tensor([1.0, 9.0]), 0, is_last=False)
        tensor([1., -inf])
        """
        only = (self.first if index == 0 else ()) or (self.last if is_last else ())
        never = self.never + (self.not_at_first if index == 0 else ())
        if only:
            forced = torch.full_like(scores, -math.inf)
            forced[..., list(only)] = 0.0
            return forced
        if not never:
            return scores
        scores = scores.clone()
        scores[..., list(never)] = -math.inf
        return scores


NO_RULES = Rules()


def rules(settings: FolderSettings, vocab_size: int) -> Rules:
    """What a folder forces and forbids; generation_config.json comes before config.json."""
    result: dict[str, tuple[int, ...]] = {}
    for name, theirs in (
        ("first", "forced_bos_token_id"),
        ("last", "forced_eos_token_id"),
        ("never", "suppress_tokens"),
        ("not_at_first", "begin_suppress_tokens"),
    ):
        result[name] = _ids(theirs, _setting(settings, theirs), vocab_size)
    words = _setting(settings, "bad_words_ids") or []
    single = [word[0] for word in words if isinstance(word, list) and len(word) == 1]
    result["never"] += _ids("bad_words_ids", single, vocab_size)
    return Rules(**result)


def longer_bad_words(settings: FolderSettings) -> list[Any]:
    """The bad words of several tokens, which are not kept from the text here."""
    words = _setting(settings, "bad_words_ids") or []
    return [word for word in words if not (isinstance(word, list) and len(word) == 1)]


def _setting(settings: FolderSettings, name: str) -> Any:
    value = settings.generation.get(name)
    return settings.config.get(name) if value is None else value


def _ids(name: str, value: Any, vocab_size: int) -> tuple[int, ...]:
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(token) is int and 0 <= token < vocab_size for token in ids):
        raise GlassformerError(
            f"the folder's generation_config.json: {name}={value!r} names no tokens of a vocabulary"
            f" of {vocab_size:,}; mend it or take it out"
        )
    return tuple(ids)
