"""Tokens become text while they come: no half characters, and stop texts that span tokens."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

from glassformer.errors import GlassformerError
from glassformer.generation.generation import Generation
from glassformer.text.tokenizer import Tokenizer

CONTEXT = 16
"""Tokens by which a decoder tells how the next one is spelled: with a space before it, say."""

WINDOW = 32
"""Tokens that are decoded again for the next one, at most."""

BROKEN = "\ufffd"
"""What stands for bytes that are no character."""


class TextStream:
    """The text of tokens, given out piece by piece as soon as later tokens can't change it.

    A character whose bytes come in several tokens is held back until it is whole; so is text that
    may be the beginning of a stop text. From a stop text on nothing is given out. Without a prompt
    the text is spelled by itself, as a reply is: no space stands before its first word.

    >>> tokenizer = Tokenizer.train("chars", ["abcde"])
    >>> stream = TextStream(tokenizer, tokenizer.encode("a"), stop=["de"])
    >>> [stream.push(token) for token in tokenizer.encode("bcdde")], stream.stopped
    (['b', 'c', '', 'd', ''], True)
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int] = (), stop: Sequence[str] = ()
    ) -> None:
        if "" in stop:
            raise GlassformerError("a stop text is empty and would stop at once; leave it out")
        self.tokenizer, self._n_tokens = tokenizer, tokenizer.vocab_size
        self.stop = list(stop)
        self.stopped = False
        self.text = ""
        """All that was given out."""
        self._ids: list[int] = []
        self._before = ""  # what stands before the tokens that are still decoded
        self._skipped = 0  # characters of those that stand in it already
        # the prompt's end is decoded along, because words need their spaces
        self._take(prompt[-CONTEXT:])
        self._start = len(self._whole_characters())

    def push(self, *tokens: int) -> str:
        """Take tokens; return the text that they settle, often "" and sometimes several letters."""
        if self.stopped:
            return ""
        self._forget()
        self._take(tokens)
        return self._give(self._whole_characters(), held=True)

    def end(self, tokens: Sequence[int]) -> str:
        """Take the last tokens, or all of them; return what was not given out yet."""
        self._take(tokens)
        return self.finish()

    def finish(self) -> str:
        """No more tokens: return what was held back."""
        return "" if self.stopped else self._give(self._decoded(), held=False)

    def _give(self, decoded: str, held: bool) -> str:
        new = decoded[self._start :]
        stops = [(new.find(stop), len(stop)) for stop in self.stop if stop in new]
        if stops:
            self.stopped = True
            # the one that is complete first: where the text is cut into tokens must not matter
            new = new[: min((start + n, start) for start, n in stops)[1]]
        elif held:
            new = new[: len(new) - self._beginning_of_stop(new)]
        piece = new[len(self.text) :]
        self.text += piece
        return piece

    def _beginning_of_stop(self, text: str) -> int:
        """How many letters at the end of `text` may be the beginning of a stop text."""
        return max(
            (n for stop in self.stop for n in range(1, len(stop)) if text.endswith(stop[:n])),
            default=0,
        )

    def _decoded(self) -> str:
        return self._before + self.tokenizer.decode(self._ids)[self._skipped :]

    def _whole_characters(self) -> str:
        """The decoded text, less the U+FFFD for a character whose last bytes are still to come."""
        decoded = self._decoded()
        if decoded.endswith(BROKEN) and self._is_in_character():
            return decoded.removesuffix(BROKEN)
        return decoded

    def _is_in_character(self) -> bool:
        """Whether the last bytes begin a character that is not whole; it may have four."""
        last = b""
        for token in reversed(self._ids):
            last = self.tokenizer.token_bytes(token) + last
            if len(last) > 3:
                break
        _, whole = codecs.utf_8_decode(last, "replace", False)
        return whole < len(last)

    def _forget(self) -> None:
        """Decode the oldest tokens no more: a long text would be decoded again for each of its own.

        Only where characters end: what is broken is spelled by the bytes that stand together.
        """
        if len(self._ids) > WINDOW and not self._is_in_character():
            self._before = self._decoded()
            del self._ids[:-CONTEXT]
            self._skipped = len(self.tokenizer.decode(self._ids))

    def _take(self, ids: Sequence[int]) -> None:
        # a model may have more ids than its tokenizer has tokens: those spell nothing
        self._ids += [token for token in ids if token < self._n_tokens]


def stream_text(
    generation: Generation, tokenizer: Tokenizer, stop: Sequence[str] = (), alone: bool = False
) -> Iterator[str]:
    """The new text of a generation, piece by piece; at a stop text the generation is finished.

    alone: it is spelled by itself, not as what follows the prompt.
    """
    return _pieces(generation, TextStream(tokenizer, () if alone else generation.prompt, stop))


def _pieces(generation: Generation, text: TextStream) -> Iterator[str]:
    for token in generation:
        piece = text.push(token)
        if piece:
            yield piece
        if text.stopped:
            generation.finish("stop")
            return
    rest = text.finish()
    if text.stopped:
        generation.finish("stop")
    if rest:
        yield rest
