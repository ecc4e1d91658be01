"""Text to token ids and back, behind one `Tokenizer`: characters, words, byte-level BPE, or a file.

The engine is Hugging Face `tokenizers`; what is saved is its `tokenizer.json`, which `transformers`
and others read.
"""

import hashlib
import json
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tokenizers

from glassformer.describe import counted
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text import engines, tokenizer_files
from glassformer.text.added_tokens import parts
from glassformer.text.bulk import Bulk, bulk
from glassformer.text.merges import LearnedMerge, MergeTable, count_learned
from glassformer.text.reading import WORD_END
from glassformer.text.special_tokens import SpecialTokens
from glassformer.text.text_trace import TextTrace, replay
from glassformer.text.vocabulary import Vocabulary, stripped_by_byte_fallback

KINDS = ("chars", "words", "bpe")
DEFAULT_BPE_VOCAB_SIZE = 512
LARGEST_VOCABULARY = 2**31 - 1  # ids are 32 bits
BULK_CHARACTERS = 2**18  # from here on, making tiktoken's tables pays

Ids = Iterable[SupportsIndex] | Iterable[Iterable[SupportsIndex]]
"""One text's, [pos] or [1, pos]: a list, an array or a tensor."""


class Tokenizer(SpecialTokens):
    """Text to token ids and back.

    `encode` takes its text as text: the letters "<eos>" in it never become the special token.
    `decode` gives text back: special tokens stand for none.

    >>> tokenizer = Tokenizer.train("bpe", ["the cat sat on the mat"] * 9, vocab_size=300)
    >>> ids = tokenizer.encode("the mat")
    >>> [tokenizer.token(id) for id in ids], tokenizer.decode(ids)
    (['the', ' mat'], 'the mat')
    >>> tokenizer.eos_id, tokenizer.token(0)
    (0, '<eos>')
    """

    def __init__(
        self,
        engine: tokenizers.Tokenizer,
        *,
        eos: str | None = None,
        merges_learned: Sequence[LearnedMerge] | None = None,
        extra_files: tokenizer_files.ExtraFiles | None = None,
        blanks: bool = False,
    ) -> None:
        """blanks: a prompt is read as an encoder reads it (`encode_blanks`)."""
        self.blanks = blanks
        self._switched_off = tokenizer_files.SwitchedOff(engine)
        engine.encode_special_tokens = True  # "<eos>" in a text is text
        super().__init__(engine, eos, extra_files or tokenizer_files.ExtraFiles())
        self.merges_learned = merges_learned

    @classmethod
    def train(
        cls,
        kind: str,
        texts: str | Iterable[str],
        *,
        vocab_size: int | None = None,
        lowercase: bool = False,
        punctuation: bool = True,
        trace: bool = False,
    ) -> "Tokenizer":
        """Learn a vocabulary from texts.

        kind: "chars" (any Unicode text comes back unchanged), "words" or "bpe" (byte-level; any
        Unicode text comes back unchanged). vocab_size: tokens, special ones included; None means
        512 for bpe and all there are for chars and words. lowercase and punctuation are for words:
        whether to lower their case, and whether punctuation marks are tokens or are left out.
        trace: for bpe, keep the merges as they were learned, with counts, in `merges_learned`.
        """
        if kind not in KINDS:
            raise GlassformerError(
                f"kind={kind!r} is no kind of tokenizer; the kinds are {', '.join(KINDS)}."
                f"{did_you_mean(kind, KINDS)}"
            )
        if kind != "words" and (lowercase or not punctuation):
            raise GlassformerError(
                f"lowercase and punctuation are for kind='words', and this is {kind!r}, which "
                "gives any text back unchanged; leave them out or take kind='words'"
            )
        if vocab_size is not None and vocab_size > LARGEST_VOCABULARY:
            raise GlassformerError(
                f"vocab_size={vocab_size} is beyond {LARGEST_VOCABULARY:,}; ask for fewer tokens"
            )
        texts = _some(iter([texts] if isinstance(texts, str) else texts))
        if kind == "chars":
            return cls(engines.train_chars(texts, vocab_size), eos=engines.EOS)
        if kind == "words":
            engine = engines.train_words(
                texts, vocab_size, lowercase=lowercase, punctuation=punctuation
            )
            return cls(engine, eos=engines.EOS)
        words: Counter[str] | None = Counter() if trace else None
        size = DEFAULT_BPE_VOCAB_SIZE if vocab_size is None else vocab_size
        tokenizer = cls(engines.train_bpe(texts, size, words), eos=engines.EOS)
        if words is not None:
            merges = [(left, right) for left, right in tokenizer.content["model"]["merges"]]
            show = tokenizer.vocabulary.show
            tokenizer.merges_learned = [
                replace(merge, left=show(merge.left), right=show(merge.right))
                for merge in count_learned(words, merges)
            ]
        return tokenizer

    @classmethod
    def of_sentences(cls, texts: Iterable[str]) -> "Tokenizer":
        """Make a tokenizer of all words of two languages, for `gf.EncoderDecoder`.

        `<pad>`, `<s>`, `</s>` and `<unk>` are tokens 0 to 3; a source ends in `</s>`.

        >>> tokenizer = Tokenizer.of_sentences(["the friend sleeps", "l'ami dort"])
        >>> tokenizer.decode(tokenizer.encode("l'ami")), len(tokenizer.encode("l'ami"))
        ("l'ami", 2)
        """
        roles = {"bos": engines.START, "eos": engines.END, "pad": engines.PAD, "unk": engines.UNK}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{f"{role}_token": token for role, token in roles.items()},
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,
        }
        extra_files = tokenizer_files.ExtraFiles(config)
        return cls(engines.train_sentences(_some(texts)), eos=engines.END, extra_files=extra_files)

    @classmethod
    def of_masked_words(
        cls, texts: Iterable[str], vocab_size: int | None = None, *, lowercase: bool = True
    ) -> "Tokenizer":
        """Make a tokenizer of words for `gf.Encoder`, with a token that stands for a hidden one.

        `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` are tokens 0 to 4; a text stands between
        `[CLS]` and `[SEP]`.

        >>> tokenizer = Tokenizer.of_masked_words(["the cat sat"])
        >>> [tokenizer.token(i) for i in tokenizer.encode_blanks("The [MASK] sat")]
        ['[CLS]', 'the', '[MASK]', 'sat', '[SEP]']
        """
        pad, unk, first, last, mask = engines.MASKED
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": pad,
            "unk_token": unk,
            "cls_token": first,
            "sep_token": last,
            "mask_token": mask,
            "eos_token": last,
            "clean_up_tokenization_spaces": False,
        }
        engine = engines.train_masked_words(_some(texts), vocab_size, lowercase=lowercase)
        return cls(engine, eos=last, extra_files=tokenizer_files.ExtraFiles(config), blanks=True)

    @classmethod
    def from_words(
        cls, words: Sequence[str], *, lowercase: bool = False, punctuation: bool = True
    ) -> "Tokenizer":
        """Make a tokenizer of exactly these words, ids in this order, no `<unk>` and no `<eos>`.

        >>> Tokenizer.from_words(["the", "cat", "sat"], lowercase=True).encode("The cat")
        [0, 1]
        """
        tokenizer = cls(engines.fixed_words(words, lowercase=lowercase, punctuation=punctuation))
        for word, count in Counter(words).items():
            if count > 1:
                raise GlassformerError(
                    f"the word {word!r} is given {count} times; a word has one id"
                )
            result = tokenizer.split(word)
            if result != [word]:
                raise GlassformerError(
                    f"the word {word!r} would never be found, because it reads as {result}; give "
                    f"{'that' if len(result) == 1 else 'such words one by one'} instead"
                )
        return tokenizer

    @classmethod
    def load(cls, path: str | Path, *, blanks: bool = False) -> "Tokenizer":
        """Read a folder that holds a tokenizer.json, or such a file itself.

        Without one, GPT-2's vocab.json and merges.txt are read. The separator between documents is
        the `eos_token` of the tokenizer_config.json beside it. What the folder says beyond that is
        written back by `save`. blanks: it is an encoder's, and `encode_prompt` reads `[MASK]`.
        """
        engine, extra_files = tokenizer_files.read(Path(path))
        eos = tokenizer_files.named(extra_files, engine, "eos_token")
        if eos is None and "eos_token" not in extra_files.config:
            eos = tokenizer_files.usual_eos(engine)
        return cls(engine, eos=eos, extra_files=extra_files, blanks=blanks)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, as `transformers` reads them."""
        unk_id = self.vocabulary.unk_id
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.eos,
            "eos_token": self.eos,
            "unk_token": None if unk_id is None else self.vocabulary.names[unk_id],
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": self.chat_template is None,  # whose marks stand in the text
        }
        content = self._switched_off.content(self.engine)
        tokenizer_files.write(Path(folder), content, config, self._extra_files)

    def __repr__(self) -> str:
        return f"<Tokenizer ({self.kind}) of {counted(self.vocab_size, 'entry', 'entries')}>"

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

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tokenizer":
        """Itself: it is never changed, and the copy of a model reads text as the model does."""
        return self

    def with_chat_template(self, template: str) -> "Tokenizer":
        """The same tokens, with a template of chats beside them."""
        config = dict(self._extra_files.config)
        if config:
            config["split_special_tokens"] = False
        files = {**self._extra_files.files, "chat_template.jinja": template}
        extra_files = tokenizer_files.ExtraFiles(config, files)
        result = Tokenizer(self.engine, eos=self.eos, extra_files=extra_files)
        result._switched_off = self._switched_off
        return result

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the tokenizer.json's content: equal when every text gets equal ids."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

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
        known = [self.vocabulary.known(token_id) for token_id in _one_text(ids)]
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

        >>> Tokenizer.from_words(["the", "cat"]).id("cat")
        1
        """
        return self.vocabulary.id(token)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that fall into `<unk>`, each once, in order.

        A blank is none of them where there is a mask token.

        >>> words = Tokenizer.train("words", ["the cat sat"])
        >>> words.unknown_words("the dog sat, the cow sat")
        ['dog', ',', 'cow']
        """
        engine = self.engine if self.mask is None else self._reads_special
        text = self._with_its_mask(text)
        encoding = engine.encode(text, add_special_tokens=False)
        unknown = (
            text[start:end]
            for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token_id == self.vocabulary.unk_id
        )
        return list(dict.fromkeys(unknown))

    def trace(self, text: str) -> TextTrace:
        """Replay how a text becomes ids, merge by merge; it ends in the ids of `encode`.

        Of an encoder's tokenizer in those of `encode_blanks`, without what stands around a text.
        """
        ids, engine = self.encode(text), self.engine
        written = text
        if self.blanks:
            written, engine = self._with_its_mask(text), self._reads_special
            ids = engine.encode(written, add_special_tokens=False).ids
        apart = parts(engine, self.content, self.split, written, special=self.blanks)
        trace = replay(text, apart, engine, self.vocabulary, self.merge_table)
        if trace.ids != ids:
            raise GlassformerError(
                f"the replay of this {self.kind} tokenizer ends in {len(trace.ids)} tokens that "
                f"are not the engine's {len(ids)}; it has a stage that a trace does not know yet"
            )
        return trace

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

    @cached_property
    def merge_table(self) -> MergeTable | None:
        """The merges that encode a word; None if the model is no BPE."""
        model = self.content["model"]
        return MergeTable(model) if model["type"] == "BPE" else None


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


def _some(texts: Iterable[str]) -> Iterator[str]:
    """Pass texts through; raise at their end if they held nothing to learn from."""
    characters = 0
    for text in texts:
        characters += len(text)
        yield text
    if not characters:
        raise GlassformerError(
            "there is no text to train a tokenizer on; give texts with characters"
        )
