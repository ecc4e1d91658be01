"""What a language model is, the way from text to the next token, and why transformers."""

from __future__ import annotations

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Bars,
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
from glassformer.course.spell import code, percent, quoted, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number

HEADING = Heading(
    name="0",
    title="What a language model is",
    question="What comes next?",
    minutes=6,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_guess(room), _what(room), _pipeline(room), _why(room)],
        takeaway="A [[language model]] gives a [[probability]] to every possible next [[token]]."
        " To write, it takes one, adds it to the text, and reads the longer text again.",
    )


def choices_for(room: Classroom, prompt: str, n: int = 4) -> list[tuple[str, float]]:
    """The most probable next token among some that suit as wrong answers, in the alphabet's order.

    The others are the text's own words that the model finds next most probable.
    """
    ranked = [pair for pair in room.next_tokens(prompt) if is_plain(pair[0])]
    return sorted(ranked[:n])


def is_plain(token: str) -> bool:
    """Whether a token is a piece of text that can be read: no lone byte, no mark of its own."""
    return bool(token.strip()) and not (token.startswith("<") and token.endswith(">"))


def _guess(room: Classroom) -> Stage:
    prompt, choices = room.prompt, choices_for(room, room.prompt)
    best = max(range(len(choices)), key=lambda i: choices[i][1])
    word, share = choices[best]
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text=f"Here is {'a tiny story' if room.is_story else 'the beginning of your text'}:"
                f" {shown(room)} A small model has read it many times."
            ),
            Guess(
                question=f"The model reads “{prompt}”. What does it expect next?",
                choices=[visible(token) for token, _ in choices],
                answer=best,
                reveal=f"It gives {code(word)} a [[probability]] of {percent(share)}.",
                misses=[
                    ""
                    if i == best
                    else f"The model gives {code(token)} {percent(p)} only; its first choice is"
                    f" {code(word)}."
                    for i, (token, p) in enumerate(choices)
                ],
            ),
            Bars(
                title="What the model expects next",
                labels=[visible(token) for token, _ in room.next_tokens(prompt)[:6]],
                values=[p for _, p in room.next_tokens(prompt)[:6]],
                percent=True,
                marked=0,
            ),
        ],
    )


def shown(room: Classroom, n: int = 6) -> str:
    """The text's first sentences."""
    sentences = room.sentences[:n]
    more = " …" if len(room.sentences) > n or len(room.text) > len(room.beginning) else ""
    return f"“{' '.join(sentences)[:400]}{more}”"


def _what(room: Classroom) -> Stage:
    ranked = room.next_tokens(room.prompt)
    first, second = (round(100 * share, 2) for _, share in ranked[:2])
    rest = round(100 - first - second, 2)
    return Stage(
        title="One thing only",
        parts=[
            Paragraph(
                text="A [[language model]] does one thing. It reads a text and gives a"
                f" [[probability]] to each of its {counted(len(ranked), 'token')}: how likely is it"
                " to come next? All probabilities add up to 100%."
            ),
            Paragraph(
                text="It can write with that. It takes one of the likely [[token|tokens]], adds it"
                " to the text, and reads the longer text again. This is called [[autoregressive]]."
                " To answer a question, to translate or to sum up is to go on with a text."
            ),
            Paragraph(
                text="A [[large language model]], or LLM, is a deep neural network: many layers of"
                " small sums, one after the other. It is called large for three reasons: its"
                " text (terabytes), its numbers (billions of [[weight|weights]]) and its computers."
                f" Our model has {room.parameters:,} weights and learned from"
                f" {counted(len(room.text), 'character')}. It works in the same way."
                " ChatGPT, GPT-4, Claude and Gemini are large language models."
            ),
            Task(
                question=f"The two most likely tokens are {code(ranked[0][0])} with {first}% and"
                f" {code(ranked[1][0])} with {second}%. What do all other tokens have together, in"
                " percent?",
                expected=rest,
                tolerance=0.02,
                hint="All tokens together have 100%.",
                worked=[f"100 - {first} - {second} = {rest}"],
            ),
        ],
    )


def _pipeline(room: Classroom) -> Stage:
    prompt, config = room.prompt, room.model.config
    ids = room.tokenizer.encode_prompt(prompt)
    tokens = [room.tokenizer.token(i) for i in ids]
    trace = room.watch(prompt)
    ranked = room.next_tokens(prompt)
    logits = trace["fwd/logits"].reshape(-1, config.vocab_size)[-1]
    first = trace["fwd/embed"].reshape(-1, config.d_model)[0, :3].tolist()
    boxes = [
        Box(label="Text", beside=f"“{prompt}”"),
        Box(label="Tokenizer", beside=" | ".join(map(visible, tokens))),
        Box(label="Token IDs", beside=" ".join(map(str, ids))),
        Box(
            label="Embeddings",
            beside=f"{counted(config.d_model, 'number')} for each token;"
            f" {visible(tokens[0])}: {', '.join(map(number, first))} …",
        ),
        Box(label="+ Position", beside="where each token stands"),
        Box(
            label="Transformer blocks",
            beside=counted(config.n_layers, "block"),
            inside=[Box(label="Attention", skip=True), Box(label="MLP", skip=True)],
        ),
        Box(
            label="Logits",
            beside=f"{counted(config.vocab_size, 'score')}; the highest is"
            f" {number(logits.max().item())}",
        ),
        Box(label="Softmax", beside=f"{visible(ranked[0][0])}: {percent(ranked[0][1])}"),
        Box(label="Next token", beside=visible(ranked[0][0])),
    ]
    return Stage(
        title="The whole way, as a picture",
        parts=[
            Paragraph(
                text="This is the way from a text to the next token, with this model's own numbers."
                " Each stage has a lesson. You need not understand it yet."
            ),
            Diagram(title="From text to the next token", boxes=boxes),
            room.look(
                f"Where the score of {code(ranked[0][0])} comes from",
                f"fwd/logits[pos={len(ids) - 1},vocab={logits.argmax().item()}]",
            ),
            Command(
                line=f"glassformer trace {{course}} {quoted(prompt)}",
                shows="the same way, with all its numbers",
            ),
        ],
    )


def _why(room: Classroom) -> Stage:
    ids = room.tokenizer.encode_prompt(room.prompt)
    return Stage(
        title="Why transformers",
        parts=[
            Paragraph(
                text="Before 2017, models read a text word by word. Each word had to wait for the"
                " one before it. The [[transformer]] came with the paper “Attention Is All You"
                " Need” (Vaswani and others, 2017), and four things became better."
            ),
            Table(
                title="What transformers changed",
                header=["what", "why it helps"],
                rows=[
                    [
                        "All tokens at once",
                        f"the {counted(len(ids), 'token')} of our prompt go through the model side"
                        " by side",
                    ],
                    ["Attention", "a token can look at any token before it, however far back"],
                    ["Long texts", "what stood early is still there and can be looked at"],
                    [
                        "Training",
                        "every position teaches at the same time, on one processor or many",
                    ],
                ],
            ),
        ],
    )
