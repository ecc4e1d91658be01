"""The built-in corpus of translations: English sentences, each with what it is elsewhere.

Simple sentences of a known grammar, into French, which agrees and elides, and into Japanese, whose
verb comes last. Where several translations are right, each has a known probability.
"""

from glassformer.text.translation.corpus import LANGUAGES, Pair, floor, pairs

__all__ = ["LANGUAGES", "Pair", "floor", "pairs"]
