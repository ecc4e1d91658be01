"""The complete flow, with this run's own numbers; what to keep; where to go next."""

from __future__ import annotations

import math

import torch

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Box,
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
from glassformer.course.spell import code, percent, quoted, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number
from glassformer.training.corpora import open_data
from glassformer.training.run import DATA, load_run, read_description

WINDOW, PIECE = 2, 2  # tokens that one sees; scores at a time
NARROW = {"windows": (WINDOW,)}
ROUNDING = 1e-12  # of float64 sums
KEEP = (
    ("Vocabulary", "the list of all tokens"),
    ("Tokenization", "text becomes numbers, and numbers become text"),
    ("Blocks of text", "pieces of the text, as long as the context"),
    ("Tensors", "numbers in a grid; in memory one long row"),
    ("Embeddings", "a row of numbers for each token; alike tokens lie near each other"),
    ("Neurons", "weighted sums, bent by an activation function"),
    ("Positions", "what tells the model where a token stands"),
    ("X and Y", "the text, and the text moved by one"),
    ("Attention", "each token takes from the tokens before it, by queries and keys"),
    ("Block", "attention and MLP, each adds to the stream, each reads it through a norm"),
    ("Weights", "all that was learned; they hold patterns, no text"),
    ("Gradient descent", "every weight takes a small step against its gradient"),
    ("In-context learning", "following a pattern of the prompt; no weight changes"),
)

HEADING = Heading(
    name="flow",
    title="The complete flow",
    question="How does it all fit together?",
    minutes=5,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[
            _training(room),
            _using(room),
            _takeaways(),
            _windows(room),
            _in_pieces(room),
            _next(room),
        ],
        takeaway="Text, [[token|tokens]], [[vector|vectors]], [[attention]], a guess; and a wrong"
        " guess makes better [[weight|weights]]. That is a [[language model]].",
    )


def _training(room: Classroom) -> Stage:
    run = load_run(room.run)
    described = read_description(room.run)
    recipe, config = described.recipe, described.model
    data = open_data(room.run / DATA, described.corpus, room.tokenizer, recipe)
    losses = run.of("loss")
    first, last = min(losses), max(losses)
    boxes = [
        Box(label="Text", beside=counted(len(room.text), "character")),
        Box(label="Vocabulary", beside=counted(room.tokenizer.vocab_size, "token")),
        Box(label="Token IDs", beside=f"{counted(data.n_tokens, 'token')} to learn from"),
        Box(
            label="Blocks of text", beside=f"{config.n_ctx} tokens each, {recipe.batch_size} a step"
        ),
        Box(label="Embeddings + positions", beside=counted(config.d_model, "number") + " each"),
        Box(
            label=counted(config.n_layers, "block"),
            inside=[
                Box(label="Attention", beside=counted(config.n_heads, "head"), skip=True),
                Box(label="MLP", beside=counted(config.d_mlp, "neuron"), skip=True),
            ],
        ),
        Box(label="Loss", beside=f"{number(losses[first], 3)} in step {first}"),
        Box(label="Gradients and AdamW", beside=f"all {room.parameters:,} weights, each step"),
        Box(
            label="Again", beside=f"{recipe.steps} steps; the loss is now {number(losses[last], 3)}"
        ),
    ]
    return Stage(
        title="Training",
        parts=[
            Paragraph(text=f"This is how the model of {room.name} was made."),
            Diagram(title="From text to a trained model", boxes=boxes),
            Task(
                question=f"Each step takes {recipe.batch_size} pieces of {config.n_ctx} tokens, and"
                " asks for a next token at every place. How many questions are answered in one"
                " step?",
                expected=float(recipe.batch_size * config.n_ctx),
                tolerance=0.0,
                worked=[
                    f"{recipe.batch_size} × {config.n_ctx} = {recipe.batch_size * config.n_ctx}"
                ],
            ),
        ],
    )


def _using(room: Classroom) -> Stage:
    rows = []
    text = room.prompt
    for _ in range(3):
        ids = room.tokenizer.encode_prompt(text)
        if len(ids) >= room.model.config.n_ctx:
            break
        best = room.best_token(text)
        share = room.next_probs(text)[best].item()
        rows.append([text, visible(room.tokenizer.token(best)), percent(share)])
        text = room.tokenizer.decode([*ids, best])
    n = room.parameters
    return Stage(
        title="Using it",
        parts=[
            Guess(
                question="How many weights change while the model writes?",
                choices=["0", f"{n // 2:,}", f"{n:,}"],
                answer=0,
                reveal=f"None of its {n:,}. Only training changes them.",
                misses=[
                    "",
                    "Not even one: there is no loss and no gradient while it writes.",
                    "That happens in every step of training, and never while it writes.",
                ],
            ),
            Paragraph(
                text="Using it is the first half of the same way: read, guess, add the guess to the"
                " text, read again. The weights stay as they are."
            ),
            Table(title="Token by token", header=["it reads", "its guess", "share"], rows=rows),
            room.look(
                "The first guess, down to the weights",
                f"fwd/probs[pos={len(room.tokenizer.encode_prompt(room.prompt)) - 1},"
                f"vocab={room.best_token(room.prompt)}]",
            ),
            Command(
                line=f"glassformer ask {{course}} {quoted(room.prompt)}", shows="what it writes"
            ),
        ],
    )


PAPER = (
    ("Scaled dot-product attention", "9"),
    ("Multi-head attention", "9"),
    ("Positional encoding", "7"),
    ("Feed-forward networks", "6 and 10"),
    ("Residual connections", "10"),
    ("Layer normalization", "10"),
    ("Encoder and decoder", "10"),
    ("Writing one token after the other", "0 and this one"),
)


def _takeaways() -> Stage:
    return Stage(
        title="What to keep",
        parts=[
            Table(
                title="Thirteen lessons in thirteen lines",
                header=["lesson", "in one line"],
                rows=[[f"{i} {name}", line] for i, (name, line) in enumerate(KEEP, start=1)],
            ),
            Table(
                title="What you know of “Attention Is All You Need”",
                header=["part of the paper", "lesson"],
                rows=[[*row] for row in PAPER],
                note="Vaswani et al. 2017; you can now follow it",
            ),
        ],
    )


def _windows(room: Classroom) -> Stage:
    best = room.best_token(room.prompt)
    ids = room.tokenizer.encode_prompt(room.prompt)
    models = {"all before it": room.variant(), f"a window of {WINDOW}": room.variant(**NARROW)}
    rows = []
    for name, (model, loss) in models.items():
        with torch.no_grad():
            share = model(torch.tensor([ids]))[0, -1].double().softmax(-1)[best].item()
        rows.append([name, number(loss, 3), percent(share)])
    pattern = models[f"a window of {WINDOW}"].model.watch(ids)["fwd/blocks.0.attn.pattern"]
    tokens = [visible(room.tokenizer.token(i)) for i in ids]
    return Stage(
        title="Attention with a window",
        parts=[
            Paragraph(
                text="In a long text it is much work to look at all earlier tokens. With a sliding"
                f" window a token looks at the last few only. We trained the model once more, with"
                f" a window of {WINDOW} tokens: itself and the one before it."
            ),
            Matrix(
                title="Who may look at whom, with a window",
                rows=tokens,
                columns=tokens,
                values=(pattern[0] > 0).double().tolist(),
                axes=("query of", "key of"),
            ),
            Table(
                title="The same model with and without",
                header=["a token sees", "loss", f"{code(room.tokenizer.token(best))} at the end"],
                rows=rows,
                note="Many large models have windows in every second block: far looks are rare.",
            ),
        ],
    )


def in_pieces(scores: list[float], size: int) -> list[float]:
    """Softmax as flash attention computes it: a piece at a time, no score looked at twice.

    m is the highest score so far, l the sum of e^(score - m); a higher m makes l smaller.
    Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".

    >>> [round(share, 3) for share in in_pieces([1.0, 2.0, 3.0], 2)]
    [0.09, 0.245, 0.665]
    """
    m, total = -math.inf, 0.0
    for begin in range(0, len(scores), size):
        piece = scores[begin : begin + size]
        highest = max(m, *piece)
        total = total * math.exp(m - highest) + sum(math.exp(x - highest) for x in piece)
        m = highest
    return [math.exp(x - m) / total for x in scores]


def _in_pieces(room: Classroom) -> Stage:
    trace = room.watch(room.prompt)
    scores = trace["fwd/blocks.0.attn.attn_scores"][0, -1].double()
    at_once, pieces = scores.softmax(-1).tolist(), in_pieces(scores.tolist(), PIECE)
    apart = max(abs(a - b) for a, b in zip(at_once, pieces, strict=True))
    tokens = [visible(room.tokenizer.token(i)) for i in room.tokenizer.encode_prompt(room.prompt)]
    return Stage(
        title="Flash attention: the same numbers in another order",
        parts=[
            Paragraph(
                text="A processor's fast memory is small. Flash attention takes the scores in"
                " pieces that fit into it. It keeps two numbers: the highest score so far, and the"
                " sum so far. When a higher score comes, the sum is made smaller to fit. So it need"
                " not keep all scores, and the shares are the same."
            ),
            Table(
                title=f"The shares of “{tokens[-1]}” in head 0",
                header=["looks at", "score", "at once", f"in pieces of {PIECE}"],
                rows=[
                    [token, number(score), number(a), number(b)]
                    for token, score, a, b in zip(
                        tokens, scores.tolist(), at_once, pieces, strict=True
                    )
                ],
                note="No two differ by more than the last digit of a computer's number."
                if apart < ROUNDING
                else f"They differ by {number(apart, 2)}.",
            ),
            Command(
                line="glassformer eval {course} {text}",
                shows="the loss; here attention is one call of PyTorch, which works in pieces",
            ),
        ],
    )


def _next(room: Classroom) -> Stage:
    return Stage(
        title="Where to go next",
        parts=[
            Paragraph(
                text="Every line below runs here. Llama, Qwen and Gemma are the same blocks in"
                " other sizes and with other choices. BERT is an encoder; T5 has an encoder and a"
                " decoder."
            ),
            Command(
                line="glassformer params bert-base",
                shows="an encoder, counted part by part; so are gpt2-xl and transformer-big",
            ),
            Command(
                line="glassformer demo",
                shows="a model of animal stories, trained in about three minutes",
            ),
            Command(
                line=f"glassformer lab ablate {{course}} {quoted(room.prompt)} --head 0.0",
                shows="what follows when a head is switched off",
            ),
            Command(
                line=f"glassformer ask {{course}} {quoted(room.prompt)} --temperature 2",
                shows="another way to draw the next word",
            ),
            Paragraph(
                text="To train larger models, people save time and memory. The first way is"
                " [[mixed precision]]: it computes with numbers of 16 bits. Checkpointing keeps"
                " only what enters a block, and computes the rest again. Distributed training has"
                " several processors learn side by side, each on texts of its own."
            ),
            Command(
                line="glassformer train {text} --dtype bf16 --out {course}-bf16",
                shows="the same model, trained in mixed precision",
            ),
            Command(
                line="glassformer train {text} --checkpoint-activations --out {course}-twice",
                shows="less memory, more work, the same numbers",
            ),
            Command(
                line="torchrun --nproc-per-node 2 -m glassformer train {text} --out {course}-two",
                shows="two processes that learn one model together",
            ),
            Paragraph(
                text="A trained model can learn on: [[fine-tuning]] goes on with other text."
                " [[few-shot|Few-shot]] needs no training: lesson 13 does it."
            ),
            Command(
                line="glassformer train {text} --from {course} --steps 50 --out {course}-tuned",
                shows="fine-tuning: the model learns further, on any text",
            ),
            Command(
                line="glassformer train {text} --only unembed --out {course}-head",
                shows="the output head alone learns; all before it stays as it was drawn",
            ),
            Command(
                line="glassformer learn 13",
                shows="few-shot: examples in the prompt, and no weight changes",
            ),
            Command(
                line="glassformer serve {course}",
                shows="the page: every number of the model, and why it is what it is",
            ),
            Paragraph(
                text="To read: “Attention Is All You Need” (Vaswani et al. 2017), which you can now"
                " follow, and “Build a Large Language Model (From Scratch)” by Sebastian Raschka."
            ),
        ],
    )
