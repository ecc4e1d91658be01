"""Lessons 4 to 6: tensors, embeddings and neurons, computed again without what they use."""

import math

import numpy as np
import pytest

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson
from glassformer.course.lesson import Curve, Guess, Matrix, Net, Points, Table, Task
from glassformer.course.lessons.lesson_05_embeddings import best_analogy
from tests.course.test_lessons import parts
from tests.course.test_lessons_01_to_03 import guesses, right, table, tasks


def embeddings(room: Classroom) -> np.ndarray:
    return room.model.embed.W_E.detach().double().numpy()


def test_the_table_of_a_tensor_says_what_the_tensor_says(room: Classroom) -> None:
    made = lesson("4", room)
    shown = {row[0]: row[1] for row in table(made, "Three tensors").rows}
    W = room.model.embed.W_E
    assert shown["[[shape]]"] == str(tuple(W.shape))
    assert shown["[[stride|strides]]"] == str(W.stride())
    assert shown["[[data type]]"] == "float32"
    assert shown["flag: needs a gradient"] == "yes"
    assert shown["numbers in its buffer"] == str(W.numel())
    ndims = [row[2].partition(":")[0] for row in table(made, "Tensors of this model").rows]
    assert ndims == ["0", "1", "2", "3", "4"]


def test_a_changed_stride_is_the_transpose_of_the_same_buffer(room: Classroom) -> None:
    one, transposed = (p for p in parts(lesson("4", room)) if isinstance(p, Matrix))
    np.testing.assert_array_equal(np.array(transposed.values), np.array(one.values).T)
    np.testing.assert_array_equal(np.array(one.values), embeddings(room)[:2, :3])


def test_the_place_in_the_buffer_holds_the_number_of_the_table(room: Classroom) -> None:
    task = tasks(lesson("4", room))[1]
    table_ = embeddings(room)
    row = room.tokenizer.encode(room.prompt)[-1]
    assert table_.ravel()[int(task.expected)] == table_[row, 3]
    assert f"{table_[row, 3]:.4f}" in task.worked[1]


def test_neighbors_and_their_cosines_are_numpys(room: Classroom) -> None:
    made = lesson("5", room)
    guess, task = guesses(made)[0], tasks(made)[0]
    rows = embeddings(room)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    word = guess.question.split("`")[1]
    names = [room.tokenizer.token(i) for i in range(len(rows))]
    asked = names.index(word)
    letters = [i for i, name in enumerate(names) if name.isalpha() and i != asked]
    best = max(letters, key=lambda i: unit[asked] @ unit[i])
    assert right(guess) == names[best]
    assert f"{unit[asked] @ unit[best]:.2f}" in guess.reveal
    rounded = np.round(rows[[asked, best], :3], 1)
    assert math.isclose(task.expected, rounded[0] @ rounded[1], abs_tol=1e-9)


def test_the_map_has_the_places_of_the_two_strongest_directions(room: Classroom) -> None:
    points = next(p for p in parts(lesson("5", room)) if isinstance(p, Points)).points
    names = [room.tokenizer.token(i) for i in range(room.tokenizer.vocab_size)]
    rows = embeddings(room)[[names.index(p.label) for p in points]]
    centered = rows - rows.mean(0)
    coordinates = np.array([[p.x, p.y] for p in points])
    _, _, directions = np.linalg.svd(centered)
    np.testing.assert_allclose(np.abs(coordinates), np.abs(centered @ directions[:2].T), atol=1e-6)


def test_the_storys_analogy_comes_true(room: Classroom) -> None:
    result = best_analogy(room)
    assert result is not None
    rows = embeddings(room)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    sum_ = unit[result.b] - unit[result.a] + unit[result.c]
    scores = unit @ sum_
    scores[[result.a, result.b, result.c]] = -np.inf
    assert scores.argmax() == result.d
    task = tasks(lesson("5", room))[1]
    assert math.isclose(task.expected, sum_[0], abs_tol=0.016)  # three numbers of two digits


def test_a_neurons_sum_is_its_products_and_the_net_is_the_worked_examples(room: Classroom) -> None:
    made = lesson("6", room)
    state = room.state("worked_example")
    trace = state.model.watch("the cat sat on")
    x = trace["blocks.0.ln2.normalized"][-1].double().numpy()
    weights = state.model.weights()
    W_in, W_out = (weights[f"blocks.0.mlp.{name}"].detach().double().numpy() for name in MLP)
    total = float(np.round(x, 1) @ np.round(W_in[:, 0], 1))
    assert math.isclose(tasks(made)[0].expected, total, abs_tol=0.006)  # printed with two decimals
    assert right(guesses(made)[0]) == ("yes" if total > 0 else "no")
    net = next(p for p in parts(made) if isinstance(p, Net))
    hidden = np.maximum(x @ W_in, 0)
    np.testing.assert_allclose([float(n) for n in net.layers[1]], hidden, rtol=0.05, atol=1e-3)
    np.testing.assert_allclose([float(n) for n in net.layers[2]], hidden @ W_out, rtol=0.05)
    np.testing.assert_array_equal(np.array(net.weights[0]), W_in)


MLP = ("W_in", "W_out")
FORMULAS = {
    "Step (perceptron)": lambda z: (z > 0).astype(float),
    "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "Tanh": np.tanh,
    "ReLU": lambda z: np.maximum(z, 0),
    "GELU": lambda z: z * np.vectorize(lambda t: (1 + math.erf(t / math.sqrt(2))) / 2)(z),
    "SiLU (Swish)": lambda z: z / (1 + np.exp(-z)),
}


def test_curves_are_the_formulas_and_slopes_are_their_differences(room: Classroom) -> None:
    curves = [p for p in parts(lesson("6", room)) if isinstance(p, Curve)]
    lines = {line.name: line for curve in curves[:2] for line in curve.lines}
    slopes = {line.name: line for curve in curves[2:] for line in curve.lines}
    assert lines.keys() == slopes.keys() == FORMULAS.keys()
    for name, formula in FORMULAS.items():
        z = np.array(lines[name].x)
        np.testing.assert_allclose(lines[name].y, formula(z), atol=1e-12)
        smooth = np.abs(z) > 1e-3  # step and ReLU have a corner at 0
        difference = (formula(z + 1e-6) - formula(z - 1e-6)) / 2e-6
        np.testing.assert_allclose(np.array(slopes[name].y)[smooth], difference[smooth], atol=1e-8)


def test_only_the_step_stays_and_it_is_refused_for_training(room: Classroom) -> None:
    made = lesson("6", room)
    assert right(guesses(made)[1]) == "Step (perceptron)"
    for name, moved in table(made, "From z = 0.5").rows:
        z = np.array([0.5, 0.51])
        low, high = FORMULAS[name](z)
        assert math.isclose(float(moved), high - low, rel_tol=0.01, abs_tol=1e-12)
    assert "can't be trained" in made.model_dump_json()
    assert tasks(made)[1].expected == pytest.approx(0.25)


def test_the_lessons_of_another_text_have_other_numbers(
    room: Classroom, other_room: Classroom
) -> None:
    for name in ("1", "2", "3", "5"):
        ours = [p for p in parts(lesson(name, room)) if isinstance(p, Guess | Task | Table)]
        theirs = [p for p in parts(lesson(name, other_room)) if isinstance(p, Guess | Task | Table)]
        assert ours != theirs
