"""Texts tokenized by every kind of tokenizer that the page has, for its own tokenizer to redo."""

import random
from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.server import answers
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import token_of

STORY = ["The cat's hat sat on the cat; isn't that the dog’s? 12,345 - well-known naïve café!"] * 3
TEXTS = [
    "",
    " ",
    "the cat sat on a mat",
    "The Dog's MAT isn't THE cat’s; it's well-known (they're 12.5 [km] away)!",
    "a<eos>b <eos><unk> <0x41>",
    "\x00\x01\x1b[31m\x7f\x85\u2028 \u001c x\u00a0y\ufeffz",
    "e\u0301 \u202etac\u202c \ufeff\ufffe\U0010ffff",
    " \n\n \t\r\n  x  ",
    "👩‍👩‍👧 naïve 中文字 ﷽ ΟΔΟΣ İI ǅ ß",
    "'s 'S ’s dog's's ' - -a a- a-b-c don't_stop __init__ x'y'z",
    "constructor __proto__ toString hasOwnProperty",
    "the [MASK] sat on <mask>[SEP]a[MASK]dog",
]
WORDS = ["cat", "the", " the", "mat", "dog's", "<eos>", "<unk>", "", "no such word", "é", "'s"]
FIXED = ["the", "cat", "sat", "on", "a", "mat"]
FEW, MANY, LETTERS = 15, 60, "aAtT het's’S-_ \n\t.,;12é\u0301ñ中👩\u200d\u00a0\u2003Σς(["


def tokenizers() -> dict[str, Tokenizer]:
    train = Tokenizer.train
    return {
        "words": train("words", STORY),
        "words in lower case": train("words", STORY, lowercase=True, punctuation=False),
        "a fixed vocabulary": Tokenizer.from_words(FIXED),
        "characters": train("chars", STORY),
        "few characters": train("chars", STORY, vocab_size=262),
        "byte pairs": train("bpe", STORY, vocab_size=330),
        "blanks": Tokenizer.of_masked_words(STORY),
    }


def cases(folder: Path, draw: random.Random, every: bool) -> list[dict[str, Any]]:
    """Texts of each tokenizer: those of TEXTS, and drawn ones of letters and of words."""
    drawn = MANY if every else FEW
    made = ["".join(draw.choices(LETTERS, k=draw.randrange(1, 40))) for _ in range(drawn)]
    made += [" ".join(draw.choices(FIXED, k=draw.randrange(1, 9))) for _ in range(drawn)]
    return [
        case(name, tokenizer, folder / name, [*TEXTS, *made])
        for name, tokenizer in tokenizers().items()
    ]


def case(name: str, tokenizer: Tokenizer, folder: Path, texts: list[str]) -> dict[str, Any]:
    tokenizer.save(folder)
    result = []
    for text in texts:
        try:
            answer = answers.tokenized(tokenizer, text)
        except GlassformerError:  # a word of no vocabulary, and nothing to put in its place
            continue
        ids = [token.id for token in answer.tokens]
        result.append(
            {
                "tokenized": answer.model_dump(),
                "marked": text.replace("<mask>", "[MASK]") if tokenizer.blanks else None,
                "decoded": tokenizer.decode(ids),
                "unknown": tokenizer.unknown_words(text),
            }
        )
    return {
        "name": name,
        "file": str(folder / "tokenizer.json"),
        "texts": result,
        "only": [[word, only(tokenizer, word)] for word in WORDS],
    }


def only(tokenizer: Tokenizer, word: str) -> int | None:
    try:
        return token_of(tokenizer, word)
    except GlassformerError:
        return None
