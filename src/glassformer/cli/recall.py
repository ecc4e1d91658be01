"""What a trained model makes of its own text: sentences without their ends, and its next word."""

from __future__ import annotations

from typing import NamedTuple

from glassformer.generation.generate import generate
from glassformer.model import EncoderDecoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.words import first_word
from glassformer.training.examples import unfinished
from glassformer.training.prepare import Prepared
from glassformer.training.translation import FRESH_SEED, batch_of, greedy, pairs_held_out

LONGEST_WORD = 24  # tokens
TRANSLATED = 3  # sentences


class Recalled(NamedTuple):
    """A prompt from the text, the word that the model finds most probable, and the text's own."""

    prompt: str
    answer: str
    text: str

    def spelled(self) -> str:
        """As a line; the text's own word where the model's is another.

        >>> Recalled("The cat sat on the", "mat", "mat").spelled()
        'The cat sat on the -> mat'
        """
        otherwise = "" if self.answer == self.text else f" (the text: {self.text})"
        return f"{self.prompt} -> {self.answer}{otherwise}"


def recall(prepared: Prepared) -> list[Recalled]:
    """Ask a model that has learned a text for the ends of its first and its last sentence.

    Of one that has learned to translate, sentences that it was not trained on.
    """
    model, tokenizer = prepared.model, prepared.run.tokenizer
    corpus = prepared.run.description.corpus
    if corpus["kind"] == "translation":
        return translations_of(model, tokenizer, corpus["language"])
    if corpus["kind"] != "text" or not model.config.causal:
        return []
    recalled: list[Recalled] = []
    for prompt, word in unfinished(tokenizer, model.config.n_ctx, prepared.run.data):
        ids = tokenizer.encode_prompt(prompt)
        budget = min(LONGEST_WORD, model.config.n_ctx - len(ids))
        new = [*generate(model, ids, max_new_tokens=budget, temperature=0.0)]
        recalled.append(Recalled(prompt, first_word(tokenizer.decode_known(new)), word))
    return recalled


def translations_of(model: EncoderDecoder, tokenizer: Tokenizer, language: str) -> list[Recalled]:
    """Some sentences that no model is trained on, with the likeliest translation beside its own."""
    pairs = [*pairs_held_out(language, FRESH_SEED, TRANSLATED)]
    batch = batch_of(tokenizer, pairs, model.config)
    device = next(model.parameters()).device
    answers = greedy(model, batch.extra["source"].to(device), tokenizer.eos_id)
    return [
        Recalled(pair.source, tokenizer.decode_known(ids), next(iter(pair.translations())))
        for pair, ids in zip(pairs, answers, strict=True)
    ]
