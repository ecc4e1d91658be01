"""Pairs of sentences, and what is known of them exactly: how probable each translation is."""

from __future__ import annotations

import math
import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.translation.choosing import Choose, drawing, outcomes
from glassformer.text.translation.french import french
from glassformer.text.translation.japanese import japanese
from glassformer.text.translation.lexicon import LEXICON, Lexicon
from glassformer.text.translation.meaning import (
    Action,
    Greeting,
    Meaning,
    Property,
    english,
    meaning,
)

Writer = Callable[[Action | Property | Greeting, Choose], list[str]]
LANGUAGES: dict[str, Writer] = {"french": french, "japanese": japanese}
"""What English is translated to."""

HELD_OUT = 20
"""One in so many sentences is held out, with whatever translations it has."""


@dataclass(frozen=True)
class Pair:
    """An English sentence and one of its translations into `language`."""

    source: str
    target: str
    meaning: Meaning
    language: str

    def translations(self) -> dict[str, float]:
        """Every translation of the source and its probability, the likeliest first."""
        write, said = LANGUAGES[self.language], self.meaning.said
        sums: dict[str, float] = defaultdict(float)
        for p, words in outcomes(partial(write, said)):
            sums[text_of(words, self.meaning.written)] += p
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def nats(self) -> float:
        """-log p of the target where the source is given."""
        return math.log(1 / self.translations()[self.target])

    @property
    def is_held_out(self) -> bool:
        """Whether no model is trained on this source, written or not.

        Greetings are not: what they mean can't be told from other sentences.
        """
        if isinstance(self.meaning.said, Greeting):
            return False
        return zlib.crc32(" ".join(english(self.meaning.said)).encode()) % HELD_OUT == 0


def pairs(seed: int | str, language: str = "french", lexicon: Lexicon = LEXICON) -> Iterator[Pair]:
    """Yield pairs without end; the seed decides every one of them.

    >>> from itertools import islice
    >>> [pair] = islice(pairs(seed=1), 1)
    """
    if language not in LANGUAGES:
        raise GlassformerError(
            f"there is no translation into {language!r}.{did_you_mean(language, LANGUAGES)} There"
            f" are {' and '.join(LANGUAGES)}"
        )
    choose = drawing(random.Random(f"translation {seed}"))
    while True:
        yield pair_of(meaning(choose, lexicon), language, choose)


def pair_of(meant: Meaning, language: str, choose: Choose) -> Pair:
    """What is meant in English, and in another language by some choices."""
    source = text_of(english(meant.said), meant.written)
    target = text_of(LANGUAGES[language](meant.said, choose), meant.written)
    return Pair(source, target, meant, language)


def floor(pairs: Iterable[Pair], tokenizer: Tokenizer) -> float:
    """These targets' own surprise in nats per token: the loss that no model can beat on them.

    floor = sum_i -log p(target_i | source_i) / sum_i (tokens(target_i) + 1); the 1 is the token
    that ends a target.
    """
    sample = [*pairs]
    encoded = tokenizer.encode_batch([pair.target for pair in sample])
    return sum(pair.nats for pair in sample) / sum(len(ids) + 1 for ids in encoded)


def text_of(words: list[str], written: bool) -> str:
    """A sentence of words, with a capital and a full stop if it is written.

    >>> text_of(["l'", "ami", "dort"], written=True), text_of(["I", "sleep"], written=False)
    ("L'ami dort.", 'I sleep')
    """
    text = " ".join(words).replace("' ", "'").replace(" ,", ",")
    return f"{text[0].upper()}{text[1:]}." if written else text
