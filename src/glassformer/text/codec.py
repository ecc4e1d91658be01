"""Text to token ids and back, as every tokenizer does it, however it was made."""

import operator
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import tokenizers

from glassformer.errors import GlassformerError
from glassformer.text import engines, tokenizer_files
from glassformer.text.bulk import Bulk, bulk
from glassformer.text.reading import WORD_END
from glassformer.text.special_tokens import SpecialTokens
from glassformer.text.vocabulary import Vocabulary, stripped_by_byte_fallback

BULK_CHARACTERS = 2**18  # from here on, making tiktoken's tables pays

Ids = Iterable[SupportsIndex] | Iterable[Iterable[SupportsIndex]]
"""One text's, [pos] or [1, pos]: a list, an array or a tensor."""


class Codec(SpecialTokens):
    """A vocabulary and an engine that cuts texts into its tokens.

    `blanks`: a prompt is read as an encoder reads it (`encode_blanks`).
    """

    blanks: bool

    @property
    def kind(self) -> str:
        """ "chars", "words" or "bpe"; the model's own name for a tokenizer of another sort."""
        model = self.content["model"]
        if model["type"] == "BPE":
            return "chars" if model["byte_fallback"] and not model["merges"] else "bpe"
        return "words" if model["type"] == "WordLevel" else model["type"].lower()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.engine, self.content)

    @cached_property
    def vocab_size(self) -> int:
        """Ids from 0 up to the highest; known without the vocabulary's texts, which take memory."""
        return max(self.engine.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def words(self) -> list[str]:
        """Every token's text, in the order of their ids."""
        return [self.token(token_id) for token_id in range(self.vocab_size)]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; raises for a word outside a vocabulary that has no `<unk>`."""
        return self.encode_batch([text])[0]

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text as a model reads it: `begin_ids`, and those of `encode`.

        Of an encoder's tokenizer they are those of `encode_blanks`.
        """
        return self.encode_blanks(text) if self.blanks else [*self.begin_ids, *self.encode(text)]

    def encode_source(self, text: str) -> list[int]:
        """Return the ids of a text as an encoder reads it: with all that the template adds to it.

        >>> from glassformer.text.tokenizer import Tokenizer
        >>> tokenizer = Tokenizer.of_sentences(["hello"])
        >>> [tokenizer.token(i) for i in tokenizer.encode_source("hello")]
        ['hello', '</s>']
        """
        self.encode(text)  # refuses what is no text
        return self.engine.encode(text).ids

    def encode_blanks(self, text: str) -> list[int]:
        """Return the ids of a text as an encoder reads it, `[MASK]` in it as the mask token.

        Other special tokens in it count too: a `[SEP]` between two sentences.
        """
        if not isinstance(text, str):
            self.encode(text)  # refuses it
        return self._reads_special.encode(self._with_its_mask(text)).ids

    def _with_its_mask(self, text: str) -> str:
        """The text, in which every usual way to write a blank is this tokenizer's."""
        for usual in tokenizer_files.USUAL_MASK if self.mask else ():
            text = text.replace(usual, self.mask or usual)
        return text

    @cached_property
    def _reads_special(self) -> tokenizers.Tokenizer:
        """The engine, to which special tokens in a text are special."""
        engine = tokenizers.Tokenizer.from_str(self.engine.to_str())
        engine.encode_special_tokens = False
        return engine

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of several texts at once, on all cores."""
        others = [type(text).__name__ for text in texts if not isinstance(text, str)]
        if others:
            raise GlassformerError(
                f"{others[0]} is no text; encode takes one text, encode_batch a list of them"
            )
        try:
            encodings = self.engine.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the engine raises TypeError and plain Exceptions
            for text in texts:
                self._explain_failure(text)
            raise GlassformerError(f"this tokenizer can't encode the text: {error}") from error
        return [encoding.ids for encoding in encodings]

    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of several texts as arrays; large ones by tiktoken, if it gives the same.

        >>> from glassformer.text.tokenizer import Tokenizer
        >>> tokenizer = Tokenizer.train("bpe", ["the cat sat on the mat"])
        >>> [ids] = tokenizer.encode_arrays(["the cat " * 50_000])
        >>> ids.tolist() == tokenizer.encode("the cat " * 50_000)
        True
        """
        if sum(map(len, texts)) >= BULK_CHARACTERS and self._bulk is not None:
            try:
                return self._bulk.encode(texts)
            except ValueError:  # a lone surrogate, or a run of spaces too long for its splitter
                pass
        return [np.array(ids, dtype=np.uint32) for ids in self.encode_batch(texts)]

    def decode(self, ids: Ids) -> str:
        """Return the text of ids; special tokens stand for none, broken UTF-8 for U+FFFD.

        `ids` are one text's, [pos] or [1, pos].
        """
        known = _one_text(ids)
        for extreme in (min(known), max(known)) if known else ():
            self.vocabulary.known(extreme)
        if self._stripped is not None:
            # for one broken byte the engine gives up whole characters beside it too
            raw = b"".join(map(self.vocabulary.bytes, known))
            return raw.decode("utf-8", "replace").removeprefix(self._stripped)
        return self.engine.decode(known, skip_special_tokens=True)

    def decode_known(self, ids: Ids) -> str:
        """Return the text of ids that a model gave: one without a token spells nothing.

        A model may have more ids than its tokenizer has tokens: vocabularies are padded.
        """
        return self.decode(i for i in _one_text(ids) if 0 <= i < self.vocab_size)

    def token(self, token_id: SupportsIndex) -> str:
        """Return a token's text; bytes that are no whole character are named, as in "<0xE2>"."""
        return self.vocabulary.text(token_id)

    def shown(self, token_id: int) -> str:
        """A token's text, or its id where a model has more ids than its tokenizer has tokens."""
        return self.token(token_id) if token_id < self.vocab_size else f"<{token_id}>"

    def token_bytes(self, token_id: SupportsIndex) -> bytes:
        """Return the bytes a token stands for: none for a special token and for `<unk>`."""
        return self.vocabulary.bytes(token_id)

    def id(self, token: str) -> int:
        """Return the id of a token given by its text, or by its name in the vocabulary.

        >>> from glassformer.text.tokenizer import Tokenizer
        >>> Tokenizer.from_words(["the", "cat"]).id("cat")
        1
        """
        return self.vocabulary.id(token)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that fall into `<unk>`, each once, in order.

        A blank is none of them where there is a mask token.

        >>> from glassformer.text.tokenizer import Tokenizer
        >>> words = Tokenizer.train("words", ["the cat sat"])
        >>> words.unknown_words("the dog sat, the cow sat")
        ['dog', ',', 'cow']
        """
        engine = self.engine if self.mask is None else self._reads_special
        text = self._with_its_mask(text)
        encoding = self.encoding(text, engine)
        unknown = (
            text[start:end]
            for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token_id == self.vocabulary.unk_id
        )
        return list(dict.fromkeys(unknown))

    def encoding(self, text: str, engine: tokenizers.Tokenizer) -> tokenizers.Encoding:
        """What this engine, or a variant of it, makes of a text; raises as `encode` does."""
        try:
            return engine.encode(text, add_special_tokens=False)
        except Exception as error:  # the engine raises TypeError and plain Exceptions
            self._explain_failure(text)
            raise GlassformerError(f"this tokenizer can't encode the text: {error}") from error

    def _explain_failure(self, text: str) -> None:
        surrogate = re.search("[\ud800-\udfff]", text)
        if surrogate:
            raise GlassformerError(
                f"character {surrogate.start():,} of the text is the lone surrogate "
                f"U+{ord(surrogate[0]):04X}, which is no character and has no UTF-8; leave it out"
            )
        unknown = [word for word in self.split(text) if word not in self.vocabulary.id_of_text]
        if unknown:
            raise GlassformerError(
                f"{unknown[0]!r} is not one of this tokenizer's {self.vocab_size} words, and it "
                f"has no {engines.UNK} to put in its place; its words are "
                f"{', '.join(self.vocabulary.names[:20])}"
            )

    def split(self, text: str) -> list[str]:
        """Return the words that a text is split into before all else, as the model sees them."""
        engine = self.engine
        normal = engine.normalizer.normalize_str(text) if engine.normalizer else text
        if engine.pre_tokenizer is None:
            return [normal] if normal else []
        return [word for word, _ in engine.pre_tokenizer.pre_tokenize_str(normal)]

    @cached_property
    def splits_where_pieces_end(self) -> bool:
        """Whether pieces of a text, as a corpus gives them, have the tokens of the whole.

        Some tokenizers from elsewhere mark the start of every text, merge across spaces, or have
        added tokens that take in the spaces after them.
        """
        added = self.engine.get_added_tokens_decoder().values()
        if any(not t.special and (t.rstrip or WORD_END.match(t.content)) for t in added):
            return False
        if self.engine.pre_tokenizer is None:
            return self.kind == "chars"
        pieces = ["one", " two", "\nthree", "\n\n 4", "\r\n5", "\tsix 七", "。八"]
        words = [word for piece in pieces for word in self.split(piece)]
        return self.split("".join(pieces)) == words

    @cached_property
    def _stripped(self) -> str | None:
        return stripped_by_byte_fallback(self.content)

    @cached_property
    def _bulk(self) -> Bulk | None:
        return bulk(self.engine, self.content)


def _one_text(ids: Ids) -> list[int]:
    """Ids of one text as whole numbers, without the axis of a batch of one."""
    rows: list[Any] = [*ids]
    if len(rows) == 1 and (isinstance(rows[0], list) or getattr(rows[0], "ndim", 0) == 1):
        rows = [*rows[0]]
    try:
        return [operator.index(token_id) for token_id in rows]
    except (TypeError, ValueError):
        raise GlassformerError(
            "decode takes the ids of one text, whole numbers [pos] or [1, pos]; decode several"
            " texts one by one"
        ) from None
