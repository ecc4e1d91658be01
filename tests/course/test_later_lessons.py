"""The numbers of lessons 7 to 13, each computed again in another way than the lesson's."""

import math
import re
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glassformer.course import hill
from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson
from glassformer.course.lesson import Bars, Guess, Lesson, Matrix, Paragraph, Part, Table, Task
from glassformer.course.lessons import lesson_10b_chain as chain
from glassformer.course.lessons import lesson_12_gradient_descent as descent
from tests.calculator import calculate

P = TypeVar("P", bound=Part)


def part(made: Lesson, kind: type[P], title: str) -> P:
    """The part of a kind whose title, or question, has these words."""
    (result,) = (
        p
        for stage in made.stages
        for p in stage.parts
        if isinstance(p, kind) and title in getattr(p, "title", getattr(p, "question", ""))
    )
    return result


def typed(line: str) -> str:
    """A worked line as it is typed into a calculator."""
    line = re.sub(r"e\^\(([^)]*)\)", r"exp(\1)", line.replace("×", "*").replace(",", ""))
    line = re.sub(r"e\^(-?[\d.]+)", r"exp(\1)", line)
    return re.sub(r"(?<![a-z])ln\(", "log(", line)


@pytest.fixture(scope="session")
def weights(room: Classroom) -> dict[str, np.ndarray]:
    """The run's own file, read without our model."""
    return {k: v.double().numpy() for k, v in load_file(room.run / "model.safetensors").items()}


def test_every_worked_line_gives_its_result_when_typed_into_a_calculator(made: Lesson) -> None:
    for stage in made.stages:
        for task in stage.parts:
            if not isinstance(task, Task):
                continue
            for line in task.worked:
                for equation in re.split(r", (?=e\^)", line):
                    *steps, result = re.split(r" = ", equation)
                    if not steps or not re.search(r"\d", result):
                        continue
                    shown = re.match(r"-?[\d,]*\.?\d+(?:e-?\d+)?", result)
                    if shown is None or re.search(r"\b(?!sin|cos)[A-Za-z_]{3,}|\[", steps[-1]):
                        continue
                    value = float(shown[0].replace(",", ""))
                    decimals = len(shown[0].partition(".")[2])
                    computed = calculate(typed(steps[-1]))
                    assert computed == pytest.approx(value, abs=0.5000001 * 10**-decimals), line


def test_attention_is_that_of_the_weights_by_numpy(
    room: Classroom, weights: dict[str, np.ndarray]
) -> None:
    """Layer norm, three products, the mask and softmax, from the file alone."""
    made = lesson("9", room)
    ids = room.tokenizer.encode_prompt(room.prompt)
    head = int(re.findall(r"head (\d+)", part(made, Guess, "look at most").question)[0])
    W = {k.removeprefix("transformer."): v for k, v in weights.items()}
    x = W["wte.weight"][ids] + W["wpe.weight"][: len(ids)]
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    normed = (x - mean) / np.sqrt(var + room.model.config.norm_eps)
    normed = normed * W["h.0.ln_1.weight"] + W["h.0.ln_1.bias"]
    qkv = normed @ W["h.0.attn.c_attn.weight"] + W["h.0.attn.c_attn.bias"]
    d = room.model.config.d_head
    q, k, v = (matrix[:, head * d : (head + 1) * d] for matrix in np.split(qkv, 3, axis=1))
    scores = q @ k.T / math.sqrt(d)
    shares = np.exp(np.where(np.tri(len(ids)) > 0, scores, -np.inf))
    shares /= shares.sum(1, keepdims=True)

    def close(made: list[list[float]] | list[float], expected: np.ndarray) -> None:
        # fp32 values of size up to 10 after five operations
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)

    close(part(made, Matrix, "Queries").values, q)
    close(part(made, Matrix, "Keys").values, k)
    close(part(made, Matrix, "Values").values, v)
    close(part(made, Matrix, "Attention weights").values, shares)
    mixes = part(made, Matrix, "gets from this head")
    close(mixes.values, shares @ v)
    close(part(made, Bars, "looks at").values, shares[-1])


def test_the_story_ends_in_the_word_that_the_text_has(room: Classroom) -> None:
    made = lesson("story", room)
    logits = room.model(torch.tensor([room.tokenizer.encode_prompt(room.prompt)]))[0, -1].double()
    best = room.tokenizer.token(int(logits.argmax()))
    assert best == "mat"
    table = part(made, Table, "committee's list")
    assert table.rows[0][0] == best
    assert float(table.rows[0][1]) == pytest.approx(logits.max().item(), rel=1e-3)
    bars = part(made, Bars, "calculator's list")
    assert bars.values[0] == pytest.approx(logits.softmax(-1).max().item(), rel=1e-5)
    last = made.stages[-1].parts[0]
    assert isinstance(last, Paragraph)
    assert "`mat`" in last.text


def test_without_positions_mixing_up_the_words_changes_nothing_and_order_is_never_learned(
    room: Classroom,
) -> None:
    made = lesson("7", room)
    guess = part(made, Guess, "same after both")
    assert guess.choices[guess.answer] == "the same"
    rows = {row[0]: row[2:] for row in part(made, Table, "What positions do").rows}
    assert rows.keys() == {"learned", "sinusoidal", "rotary", "none"}
    shares = {kind: [float(s.strip("%")) for s in row] for kind, row in rows.items()}
    for kind in ("learned", "sinusoidal", "rotary"):
        assert min(shares[kind]) > 95
    # one bag of words, two endings: what one gets the other can't have
    assert sum(shares["none"]) <= 101


def test_the_targets_are_the_texts_own_tokens_moved_by_one(room: Classroom) -> None:
    made = lesson("8", room)
    table = part(made, Table, "X and Y")
    ids = room.tokenizer.encode(room.text)
    x, y = (list(map(int, row[1:])) for row in table.rows[1:3])
    assert x == ids[: len(x)]
    assert y == ids[1 : len(y) + 1]
    probs = room.model(torch.tensor([x]))[0].double().softmax(-1)
    expected = [probs[i, token].item() for i, token in enumerate(y)]
    # fp32: one pass over all, and one for every beginning
    assert part(made, Bars, "each right answer").values == pytest.approx(expected, rel=1e-4)


def test_a_block_is_a_sum_and_its_norm_brings_every_vector_to_one_scale(room: Classroom) -> None:
    made = lesson("10", room)
    rows = part(made, Table, "before and after attention").rows
    was, added, now = ([float(x) for x in row[1:]] for row in rows)
    # three digits each
    assert [a + b for a, b in zip(was, added, strict=True)] == pytest.approx(now, abs=0.002)
    assert part(made, Table, "Before and after").rows[1] == ["after", "0.00", "1.00"]
    guesses = part(made, Table, "The guess on the way").rows
    assert guesses[-1][1] == room.tokenizer.token(room.best_token(room.prompt))


def test_the_one_printed_vector_that_does_not_follow_is_named_and_the_rest_follows_from_it(
    room: Classroom,
) -> None:
    assert chain.first_that_differs(room) == "attention adds"
    table = part(lesson("chain", room), Table, "The chain, continued")
    assert [row[3] for row in table.rows] == ["agrees"] * 3
    # from the vector after attention on, with the printed matrices and no model
    state = room.state("worked_example").model
    W = {view.name: view.value.detach().double().numpy() for view in state.views()}
    h1 = np.array(chain.PRINTED["x"]) + np.array(chain.PRINTED["attention adds"])
    normed = (h1 - h1.mean()) / np.sqrt(h1.var() + 1e-5)
    out = np.maximum(normed @ W["blocks.0.mlp.W_in"], 0) @ W["blocks.0.mlp.W_out"]
    computed = chain.continued(room)
    np.testing.assert_allclose(computed["MLP adds"], out, atol=1e-6)
    np.testing.assert_allclose(computed["after the MLP"], h1 + out, atol=1e-6)


def test_the_weights_are_those_of_the_folder_and_none_of_its_words_stands_in_them(
    room: Classroom, weights: dict[str, np.ndarray]
) -> None:
    made = lesson("11", room)
    rows = part(made, Table, "As matrices").rows
    stored = sum(w.size for w in weights.values())
    assert rows[-1][2] == f"{stored:,}" == f"{sum(int(r[2].replace(',', '')) for r in rows[:-1]):,}"
    assert part(made, Guess, "stand in that file").answer == 1
    files = {row[0]: int(row[1].replace(",", "")) for row in part(made, Table, "course/").rows}
    for name, size in files.items():
        assert (Path(room.run) / name).stat().st_size == size
    known = {row[0]: row[1] for row in part(made, Table, "more of them").rows}
    # Radford et al. 2019 and Brown et al. 2020
    assert known["GPT-2 small"].startswith("124,")
    assert known["GPT-3"].startswith("174,")
    assert known["GPT-4"] == "not published"


def test_a_weight_goes_down_its_hill_and_too_large_steps_diverge(room: Classroom) -> None:
    w = torch.tensor(hill.START, requires_grad=True)
    (gradient,) = torch.autograd.grad((w * hill.X - hill.Y) ** 2, w)
    assert hill.slope(hill.START) == gradient.item()
    ends = {name: abs(hill.descent(lr)[-1] - 0.5) for name, lr in hill.RATES.items()}
    begin = hill.START - 0.5
    assert ends["right"] < 0.001 < 0.5 < ends["too low"] < begin < ends["too high"]
    steps = descent.miniature_steps(room)
    losses = [step.loss for step in steps]
    assert losses == sorted(losses, reverse=True)
    assert steps[0].share == pytest.approx(math.exp(-losses[0]), rel=1e-5)
    made = lesson("12", room)
    matrix = part(made, Matrix, "The gradients of unembed.W_U")
    state = room.state("miniature")
    ids, word = state.tokenizer.encode(descent.PROMPT), state.tokenizer.encode(descent.WORD)[0]
    W = state.model.weights()["unembed.W_U"]
    loss = torch.nn.functional.cross_entropy(
        state.model(torch.tensor([ids]))[0, -1:], torch.tensor([word])
    )
    (expected,) = torch.autograd.grad(loss, W)
    np.testing.assert_allclose(matrix.values, expected.numpy(), rtol=1e-4, atol=1e-7)
    assert ": 268 in block and head" in part(made, Bars, "matrix by matrix").note


def test_the_last_lesson_tells_of_the_run_as_its_folder_does(room: Classroom) -> None:
    made = lesson("flow", room)
    rows = part(made, Table, "Token by token").rows
    assert rows[0][:2] == [room.prompt, "mat"]
    assert rows[1][0] == f"{room.prompt} mat"
