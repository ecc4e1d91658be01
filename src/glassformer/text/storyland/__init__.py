"""Storyland, the built-in corpus: our own sentences, without end, each of a known probability.

Short animal stories, and among them patterns made up fresh in each document, so that a model's
learning from the context can be told from what it remembers.
"""

from glassformer.text.storyland.corpus import (
    documents,
    entropy,
    expected_tokens,
    floor,
    in_place,
    log_prob,
    texts,
)
from glassformer.text.storyland.derivation import Answer, Document

__all__ = [
    "Answer",
    "Document",
    "documents",
    "entropy",
    "expected_tokens",
    "floor",
    "in_place",
    "log_prob",
    "texts",
]
