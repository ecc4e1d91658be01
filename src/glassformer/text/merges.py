"""Byte-pair encoding by hand: the merges that encode a word, and the merges that were learned.

The fast engine merges the same pairs in the same order but reports only its result.
Source: Sennrich et al. 2016, "Neural machine translation of rare words with subword units".
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple

from glassformer.text.vocabulary import byte_name


class Pair(NamedTuple):
    """Two neighboring pieces; `rank` is their place among the learned merges, None if in none."""

    position: int  # of the left piece
    left: str
    right: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class LearnedMerge:
    """A merge as training learned it: the `rank`-th, of a pair that then stood `count` times."""

    rank: int
    left: str
    right: str
    count: int


class MergeTable:
    """The merges of a BPE model, as its tokenizer.json has them, and how they encode one word.

    >>> table = MergeTable({"vocab": {}, "merges": [["a", "n"], ["an", "an"], ["b", "anan"]]})
    >>> for merge, pieces in table.replay(["b", "a", "n", "a", "n", "a"]):
    ...     print(merge.rank, merge.left, merge.right, pieces)
    0 a n ['b', 'an', 'a', 'n', 'a']
    0 a n ['b', 'an', 'an', 'a']
    1 an an ['b', 'anan', 'a']
    2 b anan ['banan', 'a']
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.vocab: dict[str, int] = model["vocab"]
        self._rank = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}
        self._prefix: str = model.get("continuing_subword_prefix") or ""
        self._suffix: str = model.get("end_of_word_suffix") or ""
        self._unk: str | None = model.get("unk_token")
        self._fuse_unk: bool = model.get("fuse_unk", False)
        self._byte_fallback: bool = model.get("byte_fallback", False)
        self._ignore_merges: bool = model.get("ignore_merges", False)

    def start(self, word: str) -> list[str]:
        """Return the pieces that a word's merges start from: mostly its characters."""
        if self._ignore_merges and word in self.vocab:
            return [word]
        pieces: list[str] = []
        for index, char in enumerate(word):
            name = (self._prefix if index else "") + char
            name += self._suffix if index == len(word) - 1 else ""
            spelled = [byte_name(byte) for byte in name.encode()]
            if name in self.vocab:
                pieces.append(name)
            elif self._byte_fallback and all(byte in self.vocab for byte in spelled):
                pieces += spelled
            elif self._unk and not (self._fuse_unk and pieces and pieces[-1] == self._unk):
                pieces.append(self._unk)
        return pieces

    def pairs(self, pieces: Sequence[str]) -> list[Pair]:
        """Return all neighbors in a word, with the rank of those that merge."""
        return [
            Pair(position, left, right, self._rank.get((left, right)))
            for position, (left, right) in enumerate(pairwise(pieces))
        ]

    def merge(self, pieces: Sequence[str]) -> tuple[list[Pair], list[str]]:
        """Return the merges of a word, always the lowest rank, then the leftmost, and its tokens.

        Here a position is where the left piece began among the pieces at the start, so that
        n pieces take n log n steps and not n^2.
        """
        word = list(pieces)  # a merged piece stands at its first place, "" at the others
        before = list(range(-1, len(word) - 1))
        after = list(range(1, len(word) + 1))
        queue: list[tuple[int, int, str]] = []  # rank, position, what the merge makes

        def offer(left: int, right: int) -> None:
            if left >= 0 and right < len(word):
                rank = self._rank.get((word[left], word[right]))
                if rank is not None:
                    heappush(queue, (rank, left, self._join(word[left], word[right])))

        for right in range(1, len(word)):
            offer(right - 1, right)
        merges: list[Pair] = []
        while queue:
            _, left, joined = heappop(queue)
            right = after[left]
            if not word[left] or right >= len(word):
                continue
            rank = self._rank.get((word[left], word[right]))
            if rank is None or self._join(word[left], word[right]) != joined:
                continue  # one of the two has been merged with its other neighbor since
            merges.append(Pair(left, word[left], word[right], rank))
            word[left], word[right] = joined, ""
            after[left] = after[right]
            if after[left] < len(word):
                before[after[left]] = left
            offer(before[left], left)
            offer(left, after[left])
        return merges, [piece for piece in word if piece]

    def replay(self, pieces: Sequence[str]) -> Iterator[tuple[Pair, list[str]]]:
        """Yield each merge of a word, its position among the pieces then, and the pieces after."""
        word = list(pieces)
        began = list(range(len(word)))  # where each piece began among the pieces at the start
        for merge in self.merge(pieces)[0]:
            position = bisect_left(began, merge.position)
            word[position : position + 2] = [self._join(merge.left, merge.right)]
            del began[position + 1]
            yield merge._replace(position=position), list(word)

    def _join(self, left: str, right: str) -> str:
        return left + right.removeprefix(self._prefix)


def count_learned(
    words: Mapping[str, int], merges: Sequence[tuple[str, str]]
) -> list[LearnedMerge]:
    """Return learned merges with the count of their pair at that moment of training.

    `words` is how often each word of the training text came up. A pair is counted at every place
    where it stands, overlapping ones too, as the trainer does: "aaa" holds the pair (a, a) twice.

    >>> count_learned({"aaa": 1, "ab": 2}, [("a", "a"), ("a", "b")])
    [LearnedMerge(rank=0, left='a', right='a', count=2), \
LearnedMerge(rank=1, left='a', right='b', count=2)]
    """
    pieces = {word: list(word) for word in words}
    counts: Counter[tuple[str, str]] = Counter()
    holders: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # pair -> words with it

    def tally(word: str, sign: int) -> None:
        for pair in pairwise(pieces[word]):
            counts[pair] += sign * words[word]
            holders[pair].add(word)  # may stay when the pair has gone: then nothing merges

    for word in words:
        tally(word, +1)
    learned = []
    for rank, (left, right) in enumerate(merges):
        learned.append(LearnedMerge(rank, left, right, counts[left, right]))
        for word in holders.pop((left, right), ()):
            tally(word, -1)
            pieces[word] = merge_all(pieces[word], left, right)
            tally(word, +1)
    return learned


def merge_all(pieces: Sequence[str], left: str, right: str) -> list[str]:
    """Return the pieces with every (left, right) merged, from the left.

    >>> merge_all(["a", "a", "a", "b"], "a", "a")
    ['aa', 'a', 'b']
    """
    merged: list[str] = []
    position = 0
    while position < len(pieces):
        width = 2 if tuple(pieces[position : position + 2]) == (left, right) else 1
        merged.append("".join(pieces[position : position + width]))
        position += width
    return merged
