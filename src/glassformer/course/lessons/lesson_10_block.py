"""The block: addition, normalization, the MLP, pre- and post-norm, what each block adds."""

from __future__ import annotations

import torch

from glassformer.course.classroom import Classroom
from glassformer.course.drawings import block_boxes, decoder_boxes
from glassformer.course.heads import tokens_of
from glassformer.course.lesson import (
    Bars,
    Command,
    Diagram,
    Guess,
    Heading,
    Lesson,
    Matrix,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import added, code, percent, quoted, rounded, term, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number
from glassformer.lab import lens

SHOWN = 6  # numbers of a vector
NEURONS = 8  # the busiest ones
BLOCK = "fwd/blocks.0."

HEADING = Heading(
    name="10",
    title="The block: putting it together",
    question="What else is there, beside attention?",
    minutes=9,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[
            _guess(room),
            _added(room),
            _normalized(room),
            _neurons(room),
            _norm_places(room),
            _stacked(room),
            _drawn(room),
            _two_kinds(room),
        ],
        takeaway="A [[block]] is [[attention]] and an [[MLP]]. Each reads the [[residual stream]]"
        " through a norm and adds its result to it. A model is a stack of blocks.",
    )


def _last(room: Classroom, name: str) -> torch.Tensor:
    """The last token's vector, float64."""
    return room.watch(room.prompt)[f"fwd/{name}"][-1].double()


def _guess(room: Classroom) -> Stage:
    sizes = {
        "attention": _last(room, "blocks.0.attn.attn_out").norm().item(),
        "the MLP": _last(room, "blocks.0.mlp.mlp_out").norm().item(),
    }
    names = [*sizes]
    answer = names.index(max(sizes, key=sizes.__getitem__))
    a, b = (number(size, 3) for size in sizes.values())
    said = f"Attention adds a vector of length {a}, the MLP one of length {b}."
    token = tokens_of(room, room.prompt)[-1]
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text="A [[block]] has two parts. [[attention|Attention]] brings news from other"
                " tokens. The [[MLP]] works on each token alone. Both add what they found to the"
                " token's [[vector]]."
            ),
            Guess(
                question=f"Which of the two adds more to {code(token)} in block 0?",
                choices=names,
                answer=answer,
                reveal=said,
                misses=[
                    "" if i == answer else "That one adds the shorter vector." for i in range(2)
                ],
            ),
        ],
    )


def _added(room: Classroom) -> Stage:
    before, out = (
        _last(room, f"blocks.0.{name}").double() for name in ("resid_pre", "attn.attn_out")
    )
    n = min(SHOWN, len(before))
    rows = added(before[:n].tolist(), out[:n].tolist())
    tokens = tokens_of(room, room.prompt)
    a, b = (rounded(x[1].item(), 2) for x in (before, out))
    return Stage(
        title="Add, never replace",
        parts=[
            Paragraph(
                text="What a part finds is added to what was there. Nothing is lost, and a part"
                " that has nothing to say adds next to nothing. This is a residual connection; the"
                " vector that grows so is the [[residual stream]]."
            ),
            Table(
                title=f"“{tokens[-1]}”, before and after attention",
                header=["", *(str(i) for i in range(n))],
                rows=[
                    [name, *row]
                    for name, row in zip(("was there", "+ attention", "= now"), rows, strict=True)
                ],
                note="" if n == len(before) else f"the first {n} of {len(before)} numbers",
            ),
            Task(
                question=f"Number 1 was {a}. Attention adds {b}. What is it now?",
                expected=round(a + b, 2),
                tolerance=0.011,
                worked=[f"{a} + {term(b)} = {a + b:z.2f}"],
            ),
            room.look(
                "The same sum with all digits",
                f"{BLOCK}resid_mid[pos={len(tokens) - 1},d_model=1]",
            ),
        ],
    )


def _normalized(room: Classroom) -> Stage:
    vector = _last(room, "blocks.0.resid_pre")
    result = _last(room, "blocks.0.ln1.standardized")
    mean = vector.mean().item()
    spread = (vector.var(correction=0) + room.model.config.norm_eps).sqrt().item()
    x, m, s = (rounded(value, 2) for value in (vector[0].item(), mean, spread))
    at = len(tokens_of(room, room.prompt)) - 1
    return Stage(
        title="Layer normalization: one scale for all",
        parts=[
            Paragraph(
                text="Vectors may grow from block to block. Before a part reads one, it is brought"
                " to the same scale: subtract the mean, divide by the spread (the standard"
                " deviation). This is [[layer normalization]]. It keeps training steady. Many new"
                " models leave out the mean; that is RMS norm."
            ),
            Table(
                title="Before and after",
                header=["", "mean", "spread"],
                rows=[
                    ["before", number(mean, 3), number(spread, 3)],
                    [
                        "after",
                        f"{result.mean().item():z.2f}",
                        f"{result.std(correction=0).item():z.2f}",
                    ],
                ],
            ),
            Task(
                question=f"Its first number is {x}. The mean is {m} and the spread {s}. What does"
                " normalization make of it?",
                expected=(x - m) / s,
                tolerance=0.02 + 0.01 * abs((x - m) / s),
                hint="Subtract the mean, then divide by the spread.",
                worked=[f"({x} - {term(m)}) / {s} = {number((x - m) / s, 3)}"],
            ),
            room.look("The same with all digits", f"{BLOCK}ln1.standardized[pos={at},d_model=0]"),
        ],
    )


def _neurons(room: Classroom) -> Stage:
    post = _last(room, "blocks.0.mlp.post")
    order = post.abs().argsort(descending=True)[:NEURONS].tolist()
    at = len(tokens_of(room, room.prompt)) - 1
    return Stage(
        title="The MLP: neurons that work alone",
        parts=[
            Paragraph(
                text=f"The [[MLP]], or feed-forward network, has {counted(len(post), 'neuron')} in"
                f" this block. Each sums the token's {room.model.config.d_model} numbers times its"
                " weights, adds a [[bias]], and applies the [[activation function]] of lesson 6. A"
                " second matrix brings the results back to the width of the stream. In one line:"
                " `MLP(x) = GELU(x W_in + b_in) W_out + b_out`."
            ),
            Bars(
                title=f"The busiest neurons at “{tokens_of(room, room.prompt)[-1]}”",
                labels=[f"neuron {i}" for i in order],
                values=[post[i].item() for i in order],
            ),
            room.look(
                f"What neuron {order[0]} summed", f"{BLOCK}mlp.pre[pos={at},d_mlp={order[0]}]"
            ),
            room.look(
                f"What neuron {order[0]} made of it", f"{BLOCK}mlp.post[pos={at},d_mlp={order[0]}]"
            ),
        ],
    )


def _norm_places(room: Classroom) -> Stage:
    here = room.model.config.norm_position
    right = int(room.next_probs(room.prompt).argmax())
    ids = torch.tensor([room.tokenizer.encode_prompt(room.prompt)])
    rows = []
    for norm, who in (("pre", "GPT-2, GPT-3, Llama"), ("post", "the paper of 2017")):
        other = room.variant(norm_position=norm)
        with torch.no_grad():
            share = other.model(ids)[0, -1].double().softmax(-1)[right].item()
        rows.append([norm, who, number(other.loss, 3), percent(share)])
    word = code(room.tokenizer.token(right))
    return Stage(
        title="Norm before or after",
        parts=[
            Paragraph(
                text="The paper of 2017 normalized after each addition: add and norm, or post-norm."
                f" GPT normalizes before each part: pre-norm. This model has {here}-norm. We"
                " trained both on the text."
            ),
            Diagram(title="Pre-norm", boxes=block_boxes("pre")),
            Diagram(title="Post-norm", boxes=block_boxes("post")),
            Table(
                title="The same model with either",
                header=["norm", "who has it", "loss", f"{word} after the prompt"],
                rows=rows,
                note="with few blocks both learn; deep post-norm models are hard to train",
            ),
        ],
    )


def _stacked(room: Classroom) -> Stage:
    config = room.model.config
    trace = room.watch(room.prompt)
    right = int(room.next_probs(room.prompt).argmax())
    rows = []
    for i, glimpse in enumerate(lens(room.model, trace)):
        best = glimpse.best(n=1)[0]
        where = "before block 0" if i == 0 else f"after block {i - 1}"
        share = glimpse.probs[-1].double()[right].item()
        rows.append([where, visible(best.word), percent(best.prob), percent(share)])
    word = code(room.tokenizer.token(right))
    return Stage(
        title="Stacking blocks",
        parts=[
            Paragraph(
                text="Blocks of the same form stand one after the other, each with weights of its"
                f" own. This model has {config.n_layers}, GPT-2 has 12, GPT-3 has 96. What would it"
                " say if it stopped early? Read the stream there as if it were the last: the"
                " logit lens."
            ),
            Table(
                title="The guess on the way",
                header=["where", "best guess", "its share", f"share of {word}"],
                rows=rows,
            ),
            Command(
                line=f"glassformer lab lens {{course}} {quoted(room.prompt)}",
                shows="the guess after every block and at every token",
            ),
        ],
    )


GOOD_FOR = (
    ("Attention", "brings together what stands apart"),
    ("Residual connections", "keep what was there, on the way up and on the gradient's way back"),
    ("Layer normalization", "keeps all numbers in a range that can be learned from"),
    ("MLP", "works out what the token's vector means"),
    ("Many blocks", "build on each other: words first, then what they say together"),
)


def _drawn(room: Classroom) -> Stage:
    return Stage(
        title="The whole decoder, drawn from this model",
        parts=[
            Paragraph(
                text="Now you know every part. This is the whole model, with its own sizes. Twice"
                " in each block, what went in is added to what comes out."
            ),
            Diagram(title="From tokens to the next one", boxes=decoder_boxes(room)),
            Table(
                title="What each part is good for",
                header=["part", "what it does"],
                rows=[[*row] for row in GOOD_FOR],
            ),
        ],
    )


def _two_kinds(room: Classroom) -> Stage:
    tokens = tokens_of(room, room.prompt)
    n = len(tokens)
    return Stage(
        title="Encoder and decoder",
        parts=[
            Paragraph(
                text="The first transformer translated. Its [[encoder]] read the whole sentence: no"
                " mask, each token sees all. Its [[decoder]] wrote the translation token by token,"
                " with the [[causal mask]], and looked at the encoder's result as well"
                " (cross-attention)."
            ),
            Matrix(
                title="Encoder: who may look at whom",
                rows=tokens,
                columns=tokens,
                values=torch.ones(n, n).tolist(),
                axes=("query of", "key of"),
            ),
            Matrix(
                title="Decoder: who may look at whom",
                rows=tokens,
                columns=tokens,
                values=torch.ones(n, n).tril().tolist(),
                axes=("query of", "key of"),
            ),
            Paragraph(
                text="GPT models are decoders alone, and so is ours. BERT is an encoder alone;"
                " T5 has both. One with both can be trained here in a minute or two. It translates"
                " into French, and shows which word it looks at while it writes each of its own:"
            ),
            Command(
                line="glassformer train --preset translation --out runs/translation",
                shows="a transformer of two towers that learns French, and the best there can be",
            ),
            Command(
                line='glassformer plot runs/translation "the black cat sleeps"',
                shows="how much each French word looks at each English word",
            ),
        ],
    )
