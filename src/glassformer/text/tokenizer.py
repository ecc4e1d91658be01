"""Text to token ids and back, behind one `Tokenizer`: characters, words, byte-level BPE, or a file.

The engine is Hugging Face `tokenizers`; what is saved is its `tokenizer.json`, which `transformers`
and others read.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from glassformer.describe import counted
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text import engines, tokenizer_files
from glassformer.text.added_tokens import parts
from glassformer.text.codec import Codec
from glassformer.text.merges import LearnedMerge, MergeTable, count_learned
from glassformer.text.text_trace import TextTrace, replay

KINDS = ("chars", "words", "bpe")
DEFAULT_BPE_VOCAB_SIZE = 512
LARGEST_VOCABULARY = 2**24  # training takes room for all of them before it reads a text


class Tokenizer(Codec):
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
        _check_size(vocab_size)
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
        _check_size(vocab_size)
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

    @cached_property
    def merge_table(self) -> MergeTable | None:
        """The merges that encode a word; None if the model is no BPE."""
        model = self.content["model"]
        return MergeTable(model) if model["type"] == "BPE" else None


def _check_size(vocab_size: int | None) -> None:
    if vocab_size is not None and vocab_size > LARGEST_VOCABULARY:
        raise GlassformerError(
            f"vocab_size={vocab_size} is beyond {LARGEST_VOCABULARY:,}; ask for fewer tokens"
        )


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
