"""How a text became token ids, step by step: split it into words, merge pieces, look up ids."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import tokenizers

from glassformer.text.added_tokens import Part
from glassformer.text.merges import MergeTable, Pair
from glassformer.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TextStep:
    """One step from text to ids.

    "split" cuts the text into words, or a word into the pieces that its merges start from;
    "merge" joins one pair of a word's pieces, the pair of lowest rank among those `considered`;
    "look up" finds the ids of a word's pieces in the vocabulary.
    """

    op: Literal["split", "merge", "look up"]
    word: int | None  # which word; None: the whole text
    pieces: tuple[str, ...]  # what the text, or the word, looks like after this step
    merge: Pair | None = None
    considered: tuple[Pair, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class WordTrace:
    """How one word became ids; `names` and `ids` are its tokens, as the vocabulary spells them."""

    text: str
    names: tuple[str, ...]
    ids: tuple[int, ...]
    start: tuple[str, ...] | None  # the pieces that the merges start from; None: nothing merges

    def steps(
        self, index: int, table: MergeTable | None, show: Callable[[str], str]
    ) -> Iterator[TextStep]:
        """Yield this word's steps, its pieces spelled by `show`; n pieces take n^2 to write out."""

        def shown(pair: Pair) -> Pair:
            return pair._replace(left=show(pair.left), right=show(pair.right))

        if table is not None and self.start is not None:
            before = list(self.start)
            yield TextStep("split", index, tuple(map(show, before)))
            for merge, after in table.replay(before):
                considered = tuple(map(shown, table.pairs(before)))
                yield TextStep("merge", index, tuple(map(show, after)), shown(merge), considered)
                before = after
        yield TextStep("look up", index, tuple(map(show, self.names)), ids=self.ids)


@dataclass(frozen=True)
class TextTrace:
    """How a text became token ids: `words` one by one, `steps` in order, and the `ids` it ends in.

    >>> from glassformer.text.tokenizer import Tokenizer
    >>> tokenizer = Tokenizer.train("bpe", ["the then there"], vocab_size=260)
    >>> for step in tokenizer.trace("then").steps:
    ...     print(step.op, step.pieces, step.merge and step.merge.rank)
    split ('then',) None
    split ('t', 'h', 'e', 'n') None
    merge ('t', 'he', 'n') 0
    merge ('the', 'n') 1
    look up ('the', 'n') None
    """

    text: str
    words: tuple[WordTrace, ...]
    splits_words: bool  # whether the tokenizer splits a text into words before all else
    table: MergeTable | None
    show: Callable[[str], str]  # a token's name in the vocabulary -> its readable text

    @cached_property
    def ids(self) -> list[int]:
        return [token_id for word in self.words for token_id in word.ids]

    @cached_property
    def tokens(self) -> list[str]:
        return [self.show(name) for word in self.words for name in word.names]

    @cached_property
    def steps(self) -> list[TextStep]:
        steps: list[TextStep] = []
        if self.splits_words:
            steps.append(TextStep("split", None, tuple(word.text for word in self.words)))
        for index, word in enumerate(self.words):
            steps += word.steps(index, self.table, self.show)
        return steps


def replay(
    text: str,
    parts: Iterable[Part],
    engine: tokenizers.Tokenizer,
    vocabulary: Vocabulary,
    table: MergeTable | None,
) -> TextTrace:
    """Return how an engine comes from a text, taken apart into `parts`, to its ids."""
    words = [word for part in parts for word in _words(part, engine, vocabulary, table)]
    splits_words = engine.pre_tokenizer is not None
    return TextTrace(text, tuple(words), splits_words, table, vocabulary.show)


def _words(
    part: Part, engine: tokenizers.Tokenizer, vocabulary: Vocabulary, table: MergeTable | None
) -> Iterator[WordTrace]:
    if part.added is not None:
        name = vocabulary.names[part.added]
        yield WordTrace(part.text, (name,), (part.added,), None)
        return
    for word in part.words:
        if table is None:
            start = None
            ids = tuple(token.id for token in engine.model.tokenize(word))
        else:
            start = tuple(table.start(word))
            ids = tuple(table.vocab[piece] for piece in table.merge(start)[1])
        names = tuple(vocabulary.names[token_id] for token_id in ids)
        yield WordTrace(vocabulary.show(word), names, ids, start)
