"""Two towers on prompts with examples: they read each sentence alone, and no example."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from glassformer.model import EncoderDecoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.translation import prompts
from glassformer.training.translation import translate

FRESH = 600  # prompts of a seed that no training uses
FRESH_SEED = "fresh"


class Translated(NamedTuple):
    """Of the `asked` sentences in one kind of prompt, `right` were translated as it has them."""

    kind: str
    right: int
    asked: int


def translate_prompts(
    model: EncoderDecoder, tokenizer: Tokenizer, n: int = FRESH
) -> list[Translated]:
    """What two towers say for each sentence of n prompts that no model is trained on."""
    fresh = [*islice(prompts.prompts(FRESH_SEED), n)]
    sources = sorted({example.source for prompt in fresh for example in prompt.examples})
    said = dict(zip(sources, translate(model, tokenizer, sources), strict=True))
    result = []
    for kind in prompts.KINDS:
        asked = [e for prompt in fresh if prompt.kind == kind for e in prompt.examples]
        right = sum(said[source] == target for source, target, _ in asked)
        result.append(Translated(kind, right, len(asked)))
    return result
