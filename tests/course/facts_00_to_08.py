"""The facts of lessons 0 to 8, from the text by counting and from the weights by NumPy."""

import math
import re
from collections import Counter
from functools import cached_property
from itertools import pairwise
from statistics import fmean

import numpy as np

from glassformer.course.classroom import MERGES, Classroom
from glassformer.course.lessons import lesson_07_positions as positions
from glassformer.course.spell import visible
from tests.course.by_numpy import Array, forward, weights_of
from tests.course.cutting import for_byte_pairs, plain_words, spelled, words_and_marks
from tests.course.facts import Amount, Cell, Facts, Share

GPT2 = {"50,257": "the vocabulary of GPT-2, Radford et al. 2019"}
WIDTHS = {"768": "GPT-2 small, Radford et al. 2019", "12,288": "GPT-3, Brown et al. 2020"}


class Known:
    """A classroom's text and model, as NumPy sees them."""

    def __init__(self, room: Classroom) -> None:
        self.room, self.config = room, room.model.config
        self.W = weights_of(room.model)
        self.vocabulary = [room.tokenizer.token(i) for i in range(room.tokenizer.vocab_size)]
        self.ids = room.tokenizer.encode_prompt(room.prompt)
        self.tokens = [visible(self.vocabulary[i]) for i in self.ids]
        self.text = room.beginning
        self.stored = [0, *room.tokenizer.encode("".join(room.corpus.texts())), 0]
        """The tokens of the whole text, its beginning and its end marked."""

    def after(self, ids: list[int]) -> Array:
        """The probability of every token after some others."""
        return forward(self.config, self.W, ids)["probs"][-1]

    @cached_property
    def of(self) -> dict[str, Array]:
        """All numbers of the prompt."""
        return forward(self.config, self.W, self.ids)

    @property
    def probs(self) -> Array:
        return self.of["probs"][-1]

    @property
    def best(self) -> list[int]:
        """The tokens, the likeliest first."""
        return np.argsort(-self.probs, kind="stable").tolist()

    @property
    def n_parameters(self) -> int:
        return sum(W.size for name, W in self.W.items() if name != "unembed.W_U")


def facts_0(known: Known) -> Facts:
    p, best = known.probs, known.best
    first, second = (round(100 * p[i], 2) for i in best[:2])
    logits = known.of["logits"][-1]
    readable = [i for i in best if re.fullmatch(r"\s*[^\s<].*", known.vocabulary[i])]
    return Facts(
        pictures={"What the model expects next": p[best[:6]]},
        tasks=[100 - first - second],
        numbers=[
            *p[best[:2]],
            *p[readable[:4]],
            *(100 * p[best[:2]]),
            len(p),
            known.n_parameters,
            len(known.room.text),
            *known.ids,
            known.config.d_model,
            *known.of["embed"][0, :3],
            known.config.n_layers,
            logits.max(),
            len(known.ids),
        ],
        constants={"2017": "Vaswani et al. 2017"},
    )


def facts_1(known: Known) -> Facts:
    times = Counter(known.text)
    letters = sum(letter.isalpha() for letter in times)
    by_characters = known.room.by_characters
    listed = [by_characters.token(i) for i in range(by_characters.vocab_size)]
    characters = [token for token in listed if token in times]
    entries = [f"{visible(letter)} ×{times[letter]}" for letter in characters]
    words = [
        f"{i} {visible(token)}"
        for i, token in enumerate(known.vocabulary)
        if not re.fullmatch("<0x..>", token)
    ]
    outside = next(letter for letter in "éüñжあ🙂" if letter not in known.text)
    names = [f"<0x{byte:02X}>" for byte in outside.encode()]
    return Facts(
        tables={
            f"The vocabulary of {known.room.name}, and how often each character comes": _six(
                entries[:120]
            ),
            f"{outside} as bytes": [[name, str(listed.index(name))] for name in names],
            "The vocabulary of this course's model": _six(words[:120]),
        },
        tasks=[len(set(known.room.prompt))],
        numbers=[
            len(times),
            len(times) // 2,
            3 * len(times),
            letters,
            len(times) - letters,
            len(known.text),
            len(names),
            len(times) + 256 + 1,
            len(known.vocabulary),
            len(words),
            min(len(words), 120),
            len(known.vocabulary) - len(words),
        ],
        constants={"26": "letters of the alphabet", "256": "bytes: 2 to the power of 8", **GPT2},
    )


def _six(entries: list[str]) -> list[list[Cell]]:
    filled = [*entries, *[""] * (-len(entries) % 6)]
    return [[*filled[i : i + 6]] for i in range(0, len(filled), 6)]


def facts_2(known: Known) -> Facts:
    room = known.room
    sentence = room.sentences[0]
    ends = [i for i in range(len(sentence) + 1) if sentence[i : i + 1] in ("", " ")]
    sample = sentence[: max((i for i in ends if i <= 40), default=40)]
    words = Counter(for_byte_pairs(known.text))
    pieces = {word: _bytes_of(word) for word in words}
    line = [*map(_bytes_of, for_byte_pairs(sample))]
    rows: list[list[Cell]] = [["", "", "", _shown(line), str(len(sample.encode()))]]
    counts: list[int] = []
    before = _pairs(words, pieces)
    for merge in room.by_pairs.merges_learned or []:
        now = _pairs(words, pieces)
        named = (p for p in now if (spelled(p[0]), spelled(p[1])) == (merge.left, merge.right))
        pair = next(named)
        assert now[pair] == max(now.values()), f"{pair} is not the most frequent pair"
        counts.append(now[pair])
        pieces = {word: _merged(parts, pair) for word, parts in pieces.items()}
        line = [_merged(parts, pair) for parts in line]
        name = f"{visible(merge.left)} + {visible(merge.right)}"
        rows.append([str(len(rows)), name, str(now[pair]), _shown(line), str(sum(map(len, line)))])
    rows = rows[:13]
    last = int(str(rows[-1][-1]))
    pairs_listed = [spelled(piece) for word in line for piece in word]
    by_words = words_and_marks(sample)
    lists = {"characters": [*sample], "words": by_words, "byte pairs": pairs_listed}
    makers = {
        "characters": room.by_characters,
        "words": room.by_words,
        "byte pairs": room.by_pairs,
    }
    cuts: list[list[Cell]] = []
    for name, cut in lists.items():
        listing = [makers[name].token(i) for i in range(makers[name].vocab_size)]
        numbers = " ".join(str(listing.index(piece)) for piece in cut)
        cuts.append([name, str(len(cut)), " | ".join(map(visible, cut)), numbers])

    times = {
        f"{visible(spelled(left))} + {visible(spelled(right))}": n
        for (left, right), n in before.items()
    }
    most = sorted(before.values(), reverse=True)
    pairs: list[list[Cell]] = [[lambda cell, n=n: times[cell] == n, str(n)] for n in most[:6]]
    encoded: list[list[Cell]] = [
        [token, str(i)] for token, i in zip(known.tokens, known.ids, strict=True)
    ]
    return Facts(
        tables={
            "One text, cut in three ways": cuts,
            "The pairs that come most often, before the first merge": pairs,
            "The text after each merge": rows,
            "Encode": encoded,
        },
        tasks=[len(sample) / last],
        numbers=[*map(len, lists.values()), *most, len(sample), last, len(rows) - 1, *known.ids],
        constants={str(MERGES): "how many merges the lesson shows at most"},
    )


def _bytes_of(word: str) -> list[bytes]:
    return [bytes([byte]) for byte in word.encode()]


def _pairs(words: Counter[str], pieces: dict[str, list[bytes]]) -> Counter[tuple[bytes, bytes]]:
    counts: Counter[tuple[bytes, bytes]] = Counter()
    for word, times in words.items():
        for pair in pairwise(pieces[word]):
            counts[pair] += times
    return counts


def _merged(pieces: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    result: list[bytes] = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def _shown(line: list[list[bytes]]) -> str:
    return " | ".join(visible(spelled(piece)) for word in line for piece in word)


def facts_3(known: Known) -> Facts:
    room, n_ctx = known.room, known.config.n_ctx
    words, noun, glue = plain_words(known.text), "words", " "
    if room.tokenizer.kind == "chars":
        words, noun, glue = [*"".join(words)], "characters", ""
    recipe = room.state().recipe
    stream = " | ".join(visible(known.vocabulary[i]) for i in known.stored)
    blocks = [glue.join(words[i : i + 3]) for i in range(0, len(words), 3)][:6]
    steps: list[list[Cell]] = [[str(i + 1), None] for i in range(7)]
    lengths = {"half of ours": n_ctx // 2, "ours": n_ctx, "GPT-2": 1024, "GPT-3": 2048}
    costs: list[list[Cell]] = [
        [name, float(n), float(sum(range(n + 1))), Amount(4 * n**2)] for name, n in lengths.items()
    ]
    read = recipe.steps * recipe.batch_size * n_ctx
    n = len(known.ids)
    return Facts(
        tables={
            f"Blocks of 3 {noun}": [[str(i + 1), block] for i, block in enumerate(blocks)],
            "Three blocks of the first step": [
                [str(i + 1), lambda row: row in stream] for i in range(3)
            ],
            "One training step after the other": steps,
            "Pairs of tokens that one head compares": costs,
        },
        tasks=[read, sum(range(n + 1))],
        numbers=[
            len(words),
            -(-len(words) // 3),
            len(words) // 3,
            len(words) % 3,
            3 * len(words),
            -(-len(words) // 3) + 2,
            n_ctx,
            recipe.batch_size,
            recipe.steps,
            n,
        ],
        constants={
            "3": "words in a block of the example",
            "4": "bytes of a float32",
            "1": "the sum by hand begins with it",
            "2": "and goes on with it",
        },
    )


def facts_4(known: Known) -> Facts:
    config, n = known.config, len(known.ids)
    V, d, heads, width = config.vocab_size, config.d_model, config.n_heads, config.d_head
    shapes = [
        (),
        (n,),
        (3, config.n_ctx),
        (heads, d, width),
        (3, heads, config.n_ctx, config.n_ctx),
    ]
    table = known.W["embed.W_E"]
    row, column = known.ids[-1], 3
    q = known.room.watch(known.room.prompt)["fwd/blocks.0.attn.q"].numpy()
    strides = [s // q.itemsize for s in q.strides]  # as NumPy sees the same memory
    # where it is a part of one fused product, queries, keys and values stand in its memory
    buffer = q.size if q.flags.c_contiguous else 3 * q.size
    small = table[:2, :3]

    def of_shape(shape: tuple[int, ...]) -> str:
        return f"({', '.join(map(str, shape))})"

    return Facts(
        tables={
            "Tensors of this model": [
                [
                    None,
                    None,
                    lambda cell, s=s: cell.partition(":")[0] == str(len(s)),
                    of_shape(s),
                    float(math.prod(s)),
                ]
                for s in shapes
            ],
            "Three tensors, with all that belongs to them": [
                ["[[shape]]", of_shape((V, d)), of_shape((n,)), of_shape(q.shape)],
                ["[[stride|strides]]", of_shape((d, 1)), of_shape((1,)), of_shape(tuple(strides))],
                ["[[data type]]", "float32", "int64", str(q.dtype)],
                ["bytes for a number", "4", "8", str(q.itemsize)],
                ["[[device]]", "cpu", "cpu", "cpu"],
                ["flag: needs a gradient", "yes", "no", "no"],
                ["flag: contiguous", "yes", "yes", "yes" if q.flags.c_contiguous else "no"],
                ["numbers in its buffer", f"{V * d:,}", str(n), f"{buffer:,}"],
            ],
        },
        pictures={
            "Shape (2, 3), strides (3, 1)": small,
            "Shape (3, 2), strides (1, 3): the same six cells": small.T,
        },
        tasks=[heads * d * width, row * d + column],
        numbers=[V, d, V * d, heads, width, *table.ravel()[:6], *small.ravel(), n, n * V, row],
        constants={
            "0": "cells are counted from 0",
            "1": "the stride of a column; the row of an example",
            "2": "sizes and strides of the example",
            "3": "sizes, strides and column of the example",
        },
    )


def facts_5(known: Known) -> Facts:
    room, table = known.room, known.W["embed.W_E"]
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    ids = room.tokenizer.encode(known.text)
    often = sorted(dict.fromkeys(ids), key=lambda i: (-ids.count(i), i))
    words = [i for i in often if any(letter.isalpha() for letter in known.vocabulary[i])]
    cosines = np.round(unit @ unit.T, 9)
    nearest = {i: max((cosines[i, j], -words.index(j), j) for j in words if j != i) for i in words}
    asked = max(words, key=lambda i: (nearest[i][0], -words.index(i)))
    neighbors = sorted((j for j in words if j != asked), key=lambda j: -cosines[asked, j])
    two = np.round(table[[asked, neighbors[0]], :3], 1)
    shown = table[words[:40]]
    centered = shown - shown.mean(0)
    _, strengths, directions = np.linalg.svd(centered)
    peaks = np.sign([max(direction, key=abs) for direction in directions[:2]])
    tables: dict[str, list[list[Cell]]] = {}
    tasks = [two[0] @ two[1]]
    first: list[float] = []
    result = _best_analogy(known, unit, words)
    if result is not None:
        a, b, c = result
        sum_ = unit[b] - unit[a] + unit[c]
        led = unit @ sum_ / np.linalg.norm(sum_)
        ranked = sorted((i for i in words if i not in result), key=lambda i: -led[i])[:4]
        name = [visible(known.vocabulary[i]) for i in (b, a, c)]
        tables[f"{name[0]} - {name[1]} + {name[2]}"] = [
            [visible(known.vocabulary[i]), led[i]] for i in ranked
        ]
        first = np.round(unit[[b, a, c], 0], 2).tolist()
        tasks.append(first[0] - first[1] + first[2])
    return Facts(
        tables=tables,
        pictures={
            f"The rows of “{room.prompt}”": table[known.ids, :8],
            f"Nearest to {visible(known.vocabulary[asked])}": cosines[asked, neighbors[:5]],
            "The embeddings as a flat map": centered @ directions[:2].T * peaks,
        },
        tasks=tasks,
        numbers=[
            *cosines[asked, neighbors],
            *two.ravel(),
            table.shape[1],
            (strengths[:2] ** 2).sum() / (strengths**2).sum(),
            len(shown),
            *first,
        ],
        constants={
            **WIDTHS,
            "5": "an example of a token ID",
            "4": "an example of a token ID",
            "48.9": "the latitude of Paris",
            "2.4": "the longitude of Paris",
            "1": "the cosine of the same direction, and the length of a row",
            "0": "the cosine of no relation",
            "-1": "the cosine of the opposite direction",
            "3": "numbers of a row that are multiplied by hand",
            "8": "numbers of a row that are shown",
        },
    )


def _best_analogy(known: Known, unit: Array, words: list[int]) -> tuple[int, int, int] | None:
    """The clearest a, b, c with b - a + c nearest to a d that stands with c as b with a."""
    pairs: dict[tuple[int, int], None] = {}
    for sentence in known.room.sentences:
        ids = [i for i in dict.fromkeys(known.room.tokenizer.encode(sentence)) if i in words]
        pairs |= {(a, b): None for i, a in enumerate(ids) for b in ids[i + 1 :]}
    chosen = [*pairs][:60]
    best, result = -2.0, None
    for a, b in chosen:
        for c, d in chosen:
            if len({a, b, c, d}) == 4:
                sum_ = unit[b] - unit[a] + unit[c]
                likeness = {i: unit[i] @ sum_ for i in words if i not in (a, b, c)}
                cosine = round(float(likeness[d] / np.linalg.norm(sum_)), 9)
                if max(likeness, key=likeness.__getitem__) == d and cosine > best:
                    best, result = cosine, (a, b, c)
    return result


FORMULAS = {
    "Step (perceptron)": lambda z: (z > 0).astype(float),
    "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "Tanh": np.tanh,
    "ReLU": lambda z: np.maximum(z, 0),
    "GELU": lambda z: z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2,
    "SiLU (Swish)": lambda z: z / (1 + np.exp(-z)),
}


def _slope(name: str, z: Array) -> Array:
    """A quotient of differences; at a corner that from the left, as the kernels have it."""
    h = 1e-6
    smooth = (FORMULAS[name](z + h) - FORMULAS[name](z - h)) / (2 * h)
    corner = np.abs(z) < 2 * h
    sharp = {"Step (perceptron)": np.zeros_like(z), "ReLU": (z > 0).astype(float)}
    return np.where(corner, sharp.get(name, smooth), smooth)


def facts_6(known: Known) -> Facts:
    state = known.room.state("worked_example")
    W = weights_of(state.model)
    of = forward(state.model.config, W, state.tokenizer.encode("the cat sat on"))
    x = of["blocks.0.ln2.standardized"][-1]
    W_in, W_out = W["blocks.0.mlp.W_in"], W["blocks.0.mlp.W_out"]
    total = np.round(x, 1) @ np.round(W_in[:, 0], 1)
    hidden, out = of["blocks.0.mlp.post"][-1], of["blocks.0.mlp.mlp_out"][-1]
    z = np.sort([*np.linspace(-4, 4, 81), 1e-9])
    names = [*FORMULAS]
    sides = {"older": names[:3], "newer": names[3:]}
    at, closer = np.array([-2.0, 0.5, 3.0]), np.array([0.5, 0.51])
    moved = {name: np.diff(formula(closer))[0] for name, formula in FORMULAS.items()}
    return Facts(
        tables={
            "Activation functions": [[name, None, None] for name in names],
            "Slopes at three places": [[name, *_slope(name, at)] for name in names],
            "From z = 0.5 to z = 0.51": [[name, moved[name]] for name in names],
        },
        pictures={
            "The MLP of the worked example after “the cat sat on”": {
                "weights": np.concatenate([W_in.ravel(), W_out.ravel()]),
                "circles": np.concatenate([x, hidden, out]),
            },
            **{
                f"The {which} ones": {name: [z, FORMULAS[name](z)] for name in kinds}
                for which, kinds in sides.items()
            },
            **{
                f"The slopes of the {which} ones": {name: [z, _slope(name, z)] for name in kinds}
                for which, kinds in sides.items()
            },
        },
        tasks=[total, 0.25],
        numbers=[
            *np.round(x, 1),
            *np.round(W_in[:, 0], 1),
            total,
            max(total, 0),
            *W_in.shape,
            W_out.shape[1],
            *moved.values(),
            known.config.n_layers * known.config.d_mlp,
            known.config.d_mlp,
            0.5,
            0.51,
        ],
        constants={
            "-2": "where slopes are listed",
            "3": "where slopes are listed",
            "0": "what ReLU and a step make of a negative sum",
            "1": "what a step makes of a positive sum; the upper end of sigmoid and tanh",
            "-1": "the lower end of tanh",
            "1958": "Rosenblatt 1958, the perceptron",
        },
    )


def facts_7(known: Known) -> Facts:
    room, of = known.room, known.of
    n, d, last = min(8, known.config.d_model), known.config.d_model, len(known.ids) - 1
    a, b = (round(of[name][last, 0], 2) for name in ("embed", "pos_embed"))
    blind = room.variant(position="none").model
    right = int(forward(blind.config, weights_of(blind), known.ids)["probs"][-1].argmax())
    orders = known.ids, [*known.ids[-2::-1], known.ids[-1]]
    blind_shares = [
        forward(blind.config, weights_of(blind), ids)["probs"][-1, right] for ids in orders
    ]
    at = np.arange(min(known.config.n_ctx, 32))
    turns = np.arange(6)
    table: dict[str, list[float]] = {}
    for kind in positions.KINDS:
        model, tokenizer = positions.ordered(kind)
        for sentence in positions.ORDER:
            *ids, word, _ = tokenizer.encode(sentence)
            probs = forward(model.config, weights_of(model), ids)["probs"][-1]
            table.setdefault(kind, []).append(probs[word])
    apart = [(3, 1), (7, 5), (12, 10), (12, 1)]
    return Facts(
        tables={
            f"“{known.tokens[last]}” at place {last}": [
                ["token", *of["embed"][last, :n]],
                ["+ place", *of["pos_embed"][last, :n]],
                ["= start", *of["resid_start"][last, :n]],
            ],
            "Dot product of (1, 0) at two places": [
                [str(q), str(k), str(q - k), math.cos(q - k)] for q, k in apart
            ],
            "What positions do": [
                [kind, None, *map(Share, shares)] for kind, shares in table.items()
            ],
        },
        pictures={
            "The rows of the first places": of["pos_embed"][:, :n],
            "Three waves": {
                f"number {i}": [at, np.sin(at / 10_000 ** (i / d))]
                for i in [0, 2, 4][: max(d // 2, 1)]
            },
            "The pair (1, 0), turned by its place": np.stack([np.cos(turns), np.sin(turns)], 1),
            "“barked” after “The dog saw the cat and”": [shares[0] for shares in table.values()],
        },
        tasks=[a + b, math.sin(1), math.cos(2)],
        numbers=[*blind_shares, a, b, known.config.n_ctx, *range(n + 1), d, last, math.degrees(1)],
        constants={
            "2017": "Vaswani et al. 2017",
            "3.5": "its section on positions",
            "0": "a number's place, and the pair (1, 0)",
            "1": "a number's place, and the pair (1, 0)",
            "2": "tokens between two places of the example",
            "10000": "the longest wave, Vaswani et al. 2017",
            f"{positions.ORDER_STEPS}": "steps of the four small models",
        },
    )


def facts_8(known: Known) -> Facts:
    room, token = known.room, known.vocabulary
    ids = room.tokenizer.encode(room.text[:400])[: min(10, known.config.n_ctx)]
    probs = forward(known.config, known.W, ids)["probs"]
    shares = np.array([probs[i, following] for i, following in enumerate(ids[1:])])
    hardest = int(shares.argmin())
    p = round(shares[hardest], max(3, 1 - math.floor(math.log10(shares[hardest]))))
    half = len(ids) // 2

    def words(some: list[int]) -> str:
        return visible(room.tokenizer.decode(some))

    return Facts(
        tables={
            "From one piece of the text": [
                [words(ids[:i]), visible(token[ids[i]])] for i in range(1, len(ids))
            ],
            "The same with windows of two tokens": [
                [words(ids[i : i + 2]), visible(token[ids[i + 2]])]
                for i in range(min(6, len(ids) - 2))
            ],
            "X and Y": [
                ["X", *(visible(token[i]) for i in ids[:-1])],
                ["X, IDs", *map(str, ids[:-1])],
                ["Y, IDs", *map(str, ids[1:])],
                ["Y", *(visible(token[i]) for i in ids[1:])],
            ],
        },
        pictures={"The probability of each right answer": shares},
        tasks=[ids[half + 1], -math.log(p)],
        numbers=[
            len(ids),
            len(ids) - 1,
            *range(len(ids)),
            *ids,
            *shares,
            p,
            fmean(-np.log(shares)),
        ],
        constants={"1": "a choice: one question only", "0": "the loss of a sure answer"},
    )


FACTS = {
    "0": facts_0,
    "1": facts_1,
    "2": facts_2,
    "3": facts_3,
    "4": facts_4,
    "5": facts_5,
    "6": facts_6,
    "7": facts_7,
    "8": facts_8,
}
