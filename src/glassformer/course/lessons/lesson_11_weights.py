"""Weights: the matrices and their folder, graph and rows, sizes of known models, patterns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    AnyPart,
    Box,
    Command,
    Diagram,
    Guess,
    Heading,
    Lesson,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, percent, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number
from glassformer.model import Config
from glassformer.model.size import parameter_count
from glassformer.text.words import words_of

WEIGHTS = "model.safetensors"
LOOKED_FOR = 5  # of the longest words, in the file of weights
FOLLOWED = 4  # words that the table of patterns shows
KNOWN = (
    ("GPT-2 small", "gpt2", 4),
    ("GPT-2 medium", "gpt2-medium", 4),
    ("GPT-3", "gpt3", 2),
)  # name, preset, bytes of a number in its file

HEADING = Heading(
    name="11",
    title="Weights: what the model has learned",
    question="Where in the model is the text?",
    minutes=8,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[
            _guess(room),
            _connection(room),
            _matrices(room),
            _folder(room),
            _sizes(room),
            _patterns(room),
        ],
        takeaway="Model = [[architecture]] + [[weight|weights]]. Training changes the weights,"
        " never the architecture. Weights hold no text; they hold what follows what.",
    )


def _guess(room: Classroom) -> Stage:
    stored = (room.run / WEIGHTS).read_bytes()
    every = {*words_of(room.beginning)}
    words = sorted(every, key=lambda word: (len(word), word))[-LOOKED_FOR:]
    seen = [word for word in words if word.encode() in stored]
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text=f"The trained model lies in a file, {code(WEIGHTS)}, of"
                f" {counted(len(stored), 'byte')}. It can go on with the text."
            ),
            Guess(
                question="Does the text stand in that file?",
                choices=["yes", "no"],
                answer=0 if seen else 1,
                reveal=f"We looked for {', '.join(words)} in its bytes and found"
                f" {'none of them' if not seen else ', '.join(seen)}. The file holds numbers.",
                misses=["", "Some of its words do stand there."]
                if seen
                else ["It holds numbers only; no word is in it.", ""],
            ),
        ],
    )


def _connection(room: Classroom) -> Stage:
    W = room.watch(room.prompt)["weight/blocks.0.mlp.W_in"].double()
    flat = W.flatten()
    places = {
        "strongest": int(flat.argmax()),
        "weakest": int(flat.abs().argmin()),
        "most negative": int(flat.argmin()),
    }
    meaning = {
        "strongest": "a large input makes the neuron's sum large",
        "weakest": "this input hardly matters to the neuron",
        "most negative": "a large input makes the sum small",
    }
    rows = [
        [
            name,
            f"input {at // W.shape[1]} → neuron {at % W.shape[1]}",
            number(flat[at].item(), 3),
            meaning[name],
        ]
        for name, at in places.items()
    ]
    return Stage(
        title="One weight, one connection",
        parts=[
            Paragraph(
                text="Whoever learns to ride a bicycle learns how far to turn the handlebars. It is"
                " written nowhere; it came with practice. Weights are like that: a [[weight]] says"
                " how strongly one number acts on another. Here are three of"
                f" the {counted(W.numel(), 'connection')} into the [[MLP]] of block 0."
            ),
            Table(
                title="Three connections",
                header=["", "from → to", "weight", "what it means"],
                rows=rows,
            ),
            room.look(
                "The strongest one, and what reads it",
                "weight/blocks.0.mlp.W_in"
                f"[d_model={places['strongest'] // W.shape[1]},"
                f"d_mlp={places['strongest'] % W.shape[1]}]",
            ),
        ],
    )


def matrices(room: Classroom) -> list[tuple[str, tuple[int, ...], int]]:
    """Every stored weight: its name, its shape and how many numbers it has."""
    seen: set[int] = set()
    rows = []
    for name, parameter in room.model.named_parameters():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            rows.append((name, tuple(parameter.shape), parameter.numel()))
    return rows


def _matrices(room: Classroom) -> Stage:
    rows = matrices(room)
    table = max(rows, key=lambda row: row[2] if len(row[1]) == 2 else 0)
    n, m = table[1]
    config = room.model.config
    return Stage(
        title="All of them",
        parts=[
            Paragraph(
                text="As a picture, a model is a graph: numbers flow from box to box. In memory, it"
                " is a list of [[matrix|matrices]]. Both are the same model, seen twice."
            ),
            Diagram(
                title="As a graph",
                boxes=[
                    Box(label="Token embeddings", beside=f"{config.vocab_size} × {config.d_model}"),
                    Box(label="+ Position embeddings", beside=f"{config.n_ctx} × {config.d_model}"),
                    Box(
                        label=f"{counted(config.n_layers, 'block')}",
                        inside=[
                            Box(label="Attention", beside="W_Q, W_K, W_V, W_O", skip=True),
                            Box(label="MLP", beside="W_in, W_out", skip=True),
                        ],
                    ),
                    Box(label="Final norm and unembedding"),
                ],
            ),
            Table(
                title="As matrices",
                header=["name", "shape", "numbers"],
                rows=[
                    *(
                        [name, " × ".join(map(str, shape)), f"{size:,}"]
                        for name, shape, size in rows
                    ),
                    ["all", "", f"{sum(size for *_, size in rows):,}"],
                ],
            ),
            Task(
                question=f"{table[0]} has {n} rows of {m} numbers. How many are these?",
                expected=float(n * m),
                tolerance=0.0,
                worked=[f"{n} × {m} = {n * m:,}"],
            ),
            Command(line="glassformer params {course}", shows="the same count, part by part"),
        ],
    )


def _folder(room: Classroom) -> Stage:
    files = sorted(path for path in room.run.iterdir() if path.is_file() and path.name != "lock")
    duty = {
        "config.json": "the architecture: sizes and choices",
        WEIGHTS: "the weights: every number that training found",
        "tokenizer.json": "the vocabulary, and how text is cut",
        "tokenizer_config.json": "how other tools are to use the tokenizer",
        "generation_config.json": "how tokens are drawn where nobody says",
        "metrics.jsonl": "what was measured while it trained",
        "run.json": "how it was trained, so that it can go on",
    }
    return Stage(
        title="The model as a folder",
        parts=[
            Paragraph(
                text="A trained model is a folder. Two files are the model: the [[architecture]]"
                " and the [[weight|weights]]. The one is the plan of a house, the other is what"
                " stands in its rooms. The rest says how to cut text, and how it was trained."
            ),
            Table(
                title=f"{room.run.name}/",
                header=["file", "bytes", "what it holds"],
                rows=[
                    [path.name, f"{path.stat().st_size:,}", duty[path.name]]
                    for path in files
                    if path.name in duty
                ],
            ),
            Command(
                line="glassformer export {course} {course}-shared",
                shows="writes what other programs need, and nothing else",
            ),
        ],
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.0f} MB"


def _sizes(room: Classroom) -> Stage:
    rows = []
    for name, preset, width in KNOWN:
        config = Config.preset(preset)
        count = parameter_count(config)
        shape = f"{config.n_layers} blocks, {config.d_model:,} wide"
        rows.append([name, f"{count:,}", _size(count * width), shape])
    small = parameter_count(Config.preset("gpt2"))
    ours = room.parameters
    return Stage(
        title="How large are others?",
        parts=[
            Table(
                title="The same blocks, more of them",
                header=["model", "weights", "file", "architecture"],
                rows=[
                    ["this one", f"{ours:,}", f"{ours * 4:,} bytes", _shape(room)],
                    *rows,
                    ["GPT-4", "not published", "not published", "not published"],
                ],
                note="4 bytes a number for GPT-2, 2 for GPT-3; of GPT-4 only guesses are known, so"
                " none stands here",
            ),
            Task(
                question=f"GPT-2 small has {small:,} weights of 4 bytes each. How many millions of"
                " bytes is that?",
                expected=small * 4 / 1e6,
                tolerance=3.0,
                hint="About 124 million, times four.",
                worked=[f"{small:,} × 4 = {small * 4:,}, about {small * 4 / 1e6:.0f} million"],
            ),
            Command(line="glassformer params gpt3", shows="GPT-3's weights, counted part by part"),
        ],
    )


def _shape(room: Classroom) -> str:
    config = room.model.config
    return f"{counted(config.n_layers, 'block')}, {config.d_model} wide"


def followers(room: Classroom) -> list[tuple[int, Counter[int]]]:
    """The tokens after which the text goes on in several ways, the most frequent first."""
    ids = room.tokenizer.encode(room.beginning)
    after: dict[int, Counter[int]] = {}
    for token, following in pairwise(ids):
        after.setdefault(token, Counter())[following] += 1
    several = [(token, counts) for token, counts in after.items() if len(counts) > 1]
    return sorted(several, key=lambda pair: (-pair[1].total(), pair[0]))[:FOLLOWED]


def _patterns(room: Classroom) -> Stage:
    token = room.tokenizer.token
    rows = []
    for first, counts in followers(room):
        probs = room.probs_after([first])
        for following, count in counts.most_common(2):
            rows.append(
                [
                    visible(token(first)),
                    visible(token(following)),
                    f"{count} of {counts.total()}",
                    percent(probs[following].item()),
                ]
            )
    parts: list[AnyPart] = [
        Paragraph(
            text="A musician who plays by ear stores no sheet of music; he knows what tends to"
            " follow. Who learned a language abroad knows how “How are …” goes on, with no"
            " dictionary. A model is like that. Counted in the text, and asked of the model that"
            " sees just the one token:"
        )
    ]
    if rows:
        parts.append(
            Table(
                title="What follows what",
                header=["after", "comes", "in the text", "the model gives"],
                rows=rows,
                note="the model saw longer beginnings too, so the two need not be equal",
            )
        )
    return Stage(
        title="Patterns, no text",
        parts=[
            *parts,
            Paragraph(
                text="This is why a model can write sentences that nobody wrote before, and why it"
                " can be wrong with a straight face: it completes patterns, it looks nothing up."
            ),
        ],
    )
