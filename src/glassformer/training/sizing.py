"""Sizes, steps and tokenizer for a text, by its length: what `train` chooses where nobody does.

A model with far more parameters than its text has tokens learns it by heart and nothing else; one
with far fewer can't hold it. So everything grows with the text, by one rule: between six sentences
(`SHORTEST`, which learn in seconds with the sizes of `LITTLE`) and a megabyte (`LONGEST`, for which
the preset `text` was made) each number is a power of the text's length: a straight line between the
two where both axes are logarithmic. Parameters then grow about as length ** 0.75. Beyond a megabyte
the preset is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SHORTEST, LONGEST = 150, 1_000_000  # characters

LITTLE: dict[str, dict[str, Any]] = {
    # two heads: one can look at the word before, the other further back; a thousand parameters
    "model": {"n_ctx": 16, "d_model": 8, "n_layers": 1, "n_heads": 2},
    # small weights want large steps: at 0.03 every seed tried learns the six sentences, at 0.01 not
    "training": {
        "steps": 300,
        "batch_size": 8,
        "lr": 0.03,
        "warmup_steps": 15,
        "eval_every": 50,
        "sample_every": 100,
        "save_every": 100,
    },
}
FEWEST_PIECES = 288  # of byte pairs: the 256 bytes, <eos> and the first merges

WORDS_BELOW = 4_000  # characters: about a thousand words, too few to learn pieces of words from
SPACES = 0.05  # of the characters, at least, where words are written apart; Chinese has none

BY_LETTER = {"n_ctx": 4, "d_model": 2}
"""A word has about four letters, and they must be told apart by what came before: times so many."""

HELD_OUT = 100
"""Held-out tokens, at least: each lies about 2 nats off the mean, which is so known to 0.2 nats."""

MOST_PARAMETERS = 100  # for a token of text; the sizes chosen here have 1 to 30


class Measured(NamedTuple):
    """What of a text decides the sizes."""

    n_characters: int
    """Of the first megabyte."""
    spaces: float
    """The share of them that are white space."""


def measured(texts: Iterable[str]) -> Measured:
    """Measure a text, reading no more of it than matters.

    >>> measured(["the cat sat on the mat"])
    Measured(n_characters=22, spaces=0.22727272727272727)
    """
    n, spaces = 0, 0
    for text in texts:
        n += len(text)
        spaces += sum(map(str.isspace, text))
        if n >= LONGEST:
            break
    return Measured(min(n, LONGEST), spaces / max(n, 1))


def sized(text: Measured, preset: dict[str, Any], kind: str | None = None) -> dict[str, Any]:
    """The tables `model`, `tokenizer` and `training` of `preset`, made to fit a text.

    kind: of the tokenizer, where it is decided already.

    >>> from glassformer.model import load_preset
    >>> six_sentences = sized(Measured(150, 0.2), load_preset("text"))
    >>> six_sentences["tokenizer"], six_sentences["model"]["d_model"]
    ({'kind': 'words'}, 8)
    >>> [sized(Measured(n, 0.2), load_preset("text"))["model"]["d_model"] for n in (10_000, 10**6)]
    [32, 128]
    """
    if text.n_characters >= LONGEST:
        return preset
    share = math.log(max(text.n_characters, SHORTEST) / SHORTEST) / math.log(LONGEST / SHORTEST)

    def between(low: float, high: float) -> float:
        return low * math.pow(high / low, share)

    model, training = (
        {name: between(low, preset[table][name]) for name, low in LITTLE[table].items()}
        for table in ("model", "training")
    )
    tokenizer = _tokenizer(text, between(FEWEST_PIECES, preset["tokenizer"]["vocab_size"]))
    if (kind or tokenizer["kind"]) == "chars":
        model |= {n: min(times * model[n], preset["model"][n]) for n, times in BY_LETTER.items()}
    model["n_heads"] = 2 ** round(math.log2(model["n_heads"]))  # a power of two: it divides d_model
    for name in ("n_ctx", "d_model"):
        model[name] = 4 * round(model[name] / 4)
    lr = training.pop("lr")
    return {
        "model": {**preset["model"], **{name: round(size) for name, size in model.items()}},
        "tokenizer": tokenizer,
        "training": {
            **preset["training"],
            **{name: round(count) for name, count in training.items()},
            "lr": float(f"{lr:.2g}"),
        },
    }


def _tokenizer(text: Measured, n_pieces: float) -> dict[str, Any]:
    if text.n_characters >= WORDS_BELOW:
        return {"kind": "bpe", "vocab_size": round(n_pieces)}
    return {"kind": "words" if text.spaces >= SPACES else "chars"}


def spelled(kind: str, model: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """The choices in one line, in the words of the options that change them.

    >>> spelled("words", **LITTLE)
    'tokenizer words, n_ctx 16, d_model 8, n_layers 1, n_heads 2, steps 300, batch_size 8, lr 0.03'
    """
    sizes = [f"{name} {model[name]}" for name in LITTLE["model"]]
    recipe = [f"{name} {training[name]}" for name in ("steps", "batch_size", "lr")]
    return ", ".join([f"tokenizer {kind}", *sizes, *recipe])


def out_of_proportion(parameters: int, n_tokens: int) -> str | None:
    """A warning where a model has far more parameters than its text can teach.

    >>> out_of_proportion(1_176, 39) is None
    True
    >>> print(out_of_proportion(837_632, 67))
    837,632 parameters are out of proportion to 67 tokens of text, 12,502 for each: the model can\
 learn them by heart and nothing else; leave out the sizes, which are then chosen for the text, or\
 give more text
    """
    if parameters <= MOST_PARAMETERS * n_tokens:
        return None
    return (
        f"{parameters:,} parameters are out of proportion to {n_tokens:,} tokens of text,"
        f" {parameters / n_tokens:,.0f} for each: the model can learn them by heart and nothing"
        " else; leave out the sizes, which are then chosen for the text, or give more text"
    )


def is_learned_whole(n_tokens: int) -> bool:
    """Whether a text is too short to hold a tenth of it out: nothing could be told from so little.

    >>> is_learned_whole(39), is_learned_whole(10_000)
    (True, False)
    """
    return n_tokens < 10 * HELD_OUT
