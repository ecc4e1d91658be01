"""The complete flow, with this run's own numbers; what to keep; where to go next."""

from __future__ import annotations

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Box,
    Command,
    Diagram,
    Guess,
    Lesson,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import counted, percent, visible
from glassformer.formula.spelling import number
from glassformer.training.corpora import open_data
from glassformer.training.run import DATA, load_run, read_description

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


def lesson(room: Classroom) -> Lesson:
    return Lesson(
        name="flow",
        title="The complete flow",
        question="How does it all fit together?",
        minutes=5,
        stages=[_training(room), _using(room), _takeaways(), _next(room)],
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
            Command(line=f'glassformer ask {{course}} "{room.prompt}"', shows="what it writes"),
        ],
    )


def _takeaways() -> Stage:
    return Stage(
        title="What to keep",
        parts=[
            Table(
                title="Thirteen lessons in thirteen lines",
                header=["lesson", "in one line"],
                rows=[[f"{i} {name}", line] for i, (name, line) in enumerate(KEEP, start=1)],
            )
        ],
    )


def _next(room: Classroom) -> Stage:
    return Stage(
        title="Where to go next",
        parts=[
            Paragraph(
                text="Every line below runs here. Sliding windows let a token look back only so"
                " far."
                " Flash attention computes the same numbers in another order, in pieces that fit"
                " into fast memory: nothing changes but the speed. Llama, Qwen and Gemma are the"
                " same blocks in other sizes and with other choices."
            ),
            Command(
                line="glassformer demo",
                shows="a model of animal stories, trained in about a minute",
            ),
            Command(
                line="glassformer params gpt2-xl",
                shows="another size of the same family, counted",
            ),
            Command(
                line="glassformer lab ablate {course} " + f'"{room.prompt}" --head 0.0',
                shows="what follows when a head is switched off",
            ),
            Command(
                line="glassformer train {text} --from {course} --steps 50 --out {course}-tuned",
                shows="fine-tuning: the model learns further, on any text",
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
