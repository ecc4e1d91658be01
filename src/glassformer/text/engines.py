"""The three kinds of tokenizer that can be trained here, built on Hugging Face `tokenizers`.

chars  a token per character seen in training; any other character becomes its UTF-8 bytes
words  a token per word and per punctuation mark; a word outside the vocabulary becomes `<unk>`
bpe    byte-level byte-pair encoding: bytes, and the pairs of tokens merged most often in training
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from glassformer.errors import GlassformerError
from glassformer.text.vocabulary import byte_name

EOS = "<eos>"  # stands between documents; token 0 of every tokenizer trained here
UNK = "<unk>"
PAD, START, END = "<pad>", "<s>", "</s>"  # of translations: fill up, begin and end a sentence
MASKED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # of encoders: Devlin et al. 2019

LONG_WORD = 1_000  # characters
_LONG_RUN = re.compile(rf"(?<!\S)\S{{{LONG_WORD}}}|(?<!\s)\s{{{LONG_WORD}}}")  # may be such a word

_LETTER = r"[\p{L}\p{M}\p{N}_]"
_OF = rf"['’][sS](?!{_LETTER})"  # "dog's" is two words, as in GPT-2: dog, and 's
_WORD = rf"{_OF}|{_LETTER}+(?:(?!{_OF})['’\-]{_LETTER}+)*"
_MARK = r"[^\s\p{L}\p{M}\p{N}_]"
_ELIDED = r"\p{L}['’](?=\p{L})"  # "l'ami" is two words: l', and ami


def train_chars(texts: Iterable[str], vocab_size: int | None) -> tokenizers.Tokenizer:
    """Return a tokenizer of the characters in `texts`, most frequent first if not all have room."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    names = [EOS, *map(byte_name, range(256))]
    budget = len(counts) if vocab_size is None else vocab_size - len(names)
    if budget < 1:
        raise GlassformerError(
            f"vocab_size={vocab_size} leaves no room for a character beside {EOS} and the 256 "
            f"bytes that spell unseen characters; ask for {len(names) + 1} or more"
        )
    frequent = sorted(counts, key=lambda char: (-counts[char], char))[:budget]
    names += sorted(frequent)
    engine = tokenizers.Tokenizer(
        models.BPE(
            vocab={name: index for index, name in enumerate(names)}, merges=[], byte_fallback=True
        )
    )
    engine.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    engine.add_special_tokens([EOS])
    return engine


def train_words(
    texts: Iterable[str], vocab_size: int | None, *, lowercase: bool, punctuation: bool
) -> tokenizers.Tokenizer:
    """Return a tokenizer of the most frequent words in `texts`, `<eos>` and `<unk>` before them."""
    if vocab_size is not None and vocab_size < 3:
        raise GlassformerError(
            f"vocab_size={vocab_size} leaves no room for a word beside {EOS} and {UNK}; ask for 3 "
            "or more"
        )
    engine = _word_engine({}, lowercase, punctuation)
    trainer = trainers.WordLevelTrainer(
        vocab_size=2**31 if vocab_size is None else vocab_size,
        special_tokens=[EOS, UNK],
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer=trainer)
    if engine.get_vocab_size() == 2:
        raise GlassformerError(
            "the texts hold no word to train a tokenizer on, only spaces"
            f"{'' if punctuation else ' and punctuation'}; give other texts or another kind"
        )
    # anew, because training made <unk> a special token, which decoding would leave out
    engine = _word_engine(engine.get_vocab(), lowercase, punctuation)
    engine.add_special_tokens([EOS])
    return engine


def fixed_words(
    words: Sequence[str], *, lowercase: bool, punctuation: bool
) -> tokenizers.Tokenizer:
    """Return a tokenizer of exactly these words, in this order, with no special token."""
    return _word_engine({word: index for index, word in enumerate(words)}, lowercase, punctuation)


def train_sentences(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """Return a tokenizer of all words of two languages, for sentences that end in `</s>`.

    `<pad>`, `<s>`, `</s>` and `<unk>` are tokens 0 to 3.
    """
    special = [PAD, START, END]
    engine = _word_engine({}, lowercase=False, punctuation=True, elided=True)
    trainer = trainers.WordLevelTrainer(special_tokens=[*special, UNK], show_progress=False)
    engine.train_from_iterator(texts, trainer=trainer)
    engine = _word_engine(engine.get_vocab(), lowercase=False, punctuation=True, elided=True)
    engine.add_special_tokens(special)
    engine.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, special.index(END))]
    )
    return engine


def train_masked_words(
    texts: Iterable[str], vocab_size: int | None, *, lowercase: bool
) -> tokenizers.Tokenizer:
    """Return a tokenizer of words for an encoder: a text stands between `[CLS]` and `[SEP]`."""
    pad, unk, first, last, mask = MASKED
    engine = _word_engine({}, lowercase, punctuation=True, unk=unk)
    trainer = trainers.WordLevelTrainer(
        vocab_size=2**31 if vocab_size is None else vocab_size,
        special_tokens=[*MASKED],
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer=trainer)
    if engine.get_vocab_size() == len(MASKED):
        raise GlassformerError(
            "the texts hold no word to train a tokenizer on; give other texts, or more tokens than"
            f" {len(MASKED)}"
        )
    engine = _word_engine(engine.get_vocab(), lowercase, punctuation=True, unk=unk)
    engine.add_special_tokens([pad, first, last, mask])
    engine.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(token, MASKED.index(token)) for token in (first, last)],
    )
    return engine


def _word_engine(
    vocab: dict[str, int],
    lowercase: bool,
    punctuation: bool,
    elided: bool = False,
    unk: str = UNK,
) -> tokenizers.Tokenizer:
    """`elided`: a letter and an apostrophe before a word are a word of their own, as in French."""
    engine = tokenizers.Tokenizer(models.WordLevel(vocab=vocab, unk_token=unk))
    if lowercase:
        engine.normalizer = normalizers.Lowercase()
    pattern = f"{_WORD}|{_MARK}" if punctuation else _WORD
    if elided:
        pattern = f"{_ELIDED}|{pattern}"
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    engine.decoder = decoders.Sequence(
        [
            # "the dog 's mat ." reads "the dog's mat."
            decoders.Replace(Regex(rf"^(?!{_OF}|[.,;:!?…)\]}}])"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=[(\[{]) "), ""),
            *([decoders.Replace(Regex(rf"(?<=\b{_LETTER}['’]) "), "")] if elided else []),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return engine


def train_bpe(
    texts: Iterable[str], vocab_size: int, words: Counter[str] | None = None
) -> tokenizers.Tokenizer:
    """Return a byte-level BPE tokenizer; it ends below `vocab_size` when no pair comes up twice.

    Learning takes the square of a word's length, so a word of more than LONG_WORD characters (DNA,
    base64) is learned from in parts of that length. It is still encoded as one word. The words of
    the texts are counted into `words`, if given.
    """
    smallest = 1 + 256
    if vocab_size < smallest:
        raise GlassformerError(
            f"vocab_size={vocab_size} is too small for byte-level BPE, which starts from {EOS} and "
            f"256 bytes; ask for {smallest} or more"
        )
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = _in_short_words(texts, engine.pre_tokenizer)
    if words is not None:
        texts = _counted(texts, engine.pre_tokenizer, words)
    engine.train_from_iterator(texts, trainer=trainer)
    return engine


def _in_short_words(texts: Iterable[str], splitter: pre_tokenizers.PreTokenizer) -> Iterator[str]:
    """Pass texts through, each cut inside its words of more than LONG_WORD characters.

    >>> splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> [len(part) for part in _in_short_words(["A" * 2500, "a cat"], splitter)]
    [1000, 1000, 500, 5]
    """
    for text in texts:
        begin = 0
        if _LONG_RUN.search(text):
            for _, (start, end) in splitter.pre_tokenize_str(text):
                for cut in range(start + LONG_WORD, end, LONG_WORD):
                    yield text[begin:cut]
                    begin = cut
        yield text[begin:]


def _counted(
    texts: Iterable[str], splitter: pre_tokenizers.PreTokenizer, words: Counter[str]
) -> Iterator[str]:
    """Pass texts through, counting the words that they are split into."""
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
        yield text
