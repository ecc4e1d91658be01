"""Parts of a value, its counts and its picture are exactly those of the recorded numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load as read_safetensors

from glassformer.server.parts import largest_of_blocks
from tests.server.served import all_values, client, error, open_trace

server = client("miniature")

W_IN = "weight/blocks.0.mlp.W_in"
PATTERN = "fwd/blocks.0.attn.pattern"
SCORES = "fwd/blocks.0.attn.attn_scores"


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def about(request):
    return open_trace(server, float64=request.param == torch.float64)


@pytest.fixture(scope="module")
def values(about) -> dict[str, torch.Tensor]:
    return read_safetensors(all_values(server, about))


def ask(about, what: str = "part", **query):
    return server.get(f"/api/traces/{about['id']}/{what}", params=query)


def part(about, like: torch.Tensor, **query) -> torch.Tensor:
    answer = ask(about, **query)
    assert answer.status_code == 200, answer.text
    return torch.frombuffer(bytearray(answer.content), dtype=like.dtype)


def test_a_column_is_one_request_and_bit_for_bit_the_recorded_one(about, values):
    W_in = values[W_IN]
    for column in range(W_in.shape[1]):
        query = {"begin": f"0,{column}", "end": f"{len(W_in)},{column + 1}"}
        result = part(about, W_in, address=W_IN, **query)
        assert torch.equal(result, W_in[:, column])


def test_a_window_of_one_head_is_bit_for_bit_the_recorded_one(about, values):
    pattern = values[PATTERN]
    result = part(about, pattern, address=PATTERN, begin="0,0,2,1", end="1,1,5,3")
    assert torch.equal(result, pattern[0, 0, 2:5, 1:3].flatten())


def test_without_bounds_a_part_is_the_whole_value_whatever_its_dtype(about, values):
    of_each = {(value.dtype, value.ndim): path for path, value in values.items()}
    for path in of_each.values():
        value = values[path]
        assert torch.equal(part(about, value, address=path), value.flatten()), path


def largest_by_hand(value: torch.Tensor, sides: list[int]) -> list[float]:
    starts = itertools.product(*(range(0, n, s) for n, s in zip(value.shape, sides, strict=True)))
    blocks = (
        value[tuple(slice(a, a + s) for a, s in zip(start, sides, strict=True))].flatten().tolist()
        for start in starts
    )
    return [max(sorted(block, reverse=True), key=abs) for block in blocks]


@pytest.mark.parametrize("sides", [[1, 5], [2, 3], [3, 1], [4, 100], [7, 16]])
def test_an_overview_has_the_number_of_largest_magnitude_of_every_block(about, values, sides):
    W_in = values[W_IN]
    result = part(about, W_in, address=W_IN, block=",".join(map(str, sides)))
    assert result.tolist() == largest_by_hand(W_in, sides)


def test_blocks_of_a_part_begin_where_the_part_begins(about, values):
    W_in = values[W_IN]
    query = {"begin": "1,3", "end": "4,14", "block": "2,4"}
    result = part(about, W_in, address=W_IN, **query)
    assert result.tolist() == largest_by_hand(W_in[1:4, 3:14], [2, 4])


def test_masked_scores_are_seen_only_where_a_whole_block_is_masked(about, values):
    scores = values[SCORES][0, 0]
    query = {"begin": "0,0,0,0", "end": f"1,1,{len(scores)},{len(scores)}", "block": "1,1,2,2"}
    result = part(about, scores, address=SCORES, **query).view(3, 3)
    assert result[0, 1:].tolist() == [-math.inf] * 2
    kept = scores[:2, :2].flatten()
    kept = kept[kept.isfinite()]
    assert result[0, 0] == kept[kept.abs().argmax()]


def test_a_nan_is_never_hidden_by_larger_numbers():
    inf = math.inf
    value = torch.tensor([5.0, torch.nan, -7.0, 2.0, -inf, -inf, 3.0, inf, -inf, 1.0])
    result = largest_of_blocks(value, [2]).tolist()
    assert math.isnan(result[0])
    assert result[1:] == [-7.0, -inf, inf, 1.0]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"begin": "0,0", "end": "4,17"}, 416, "range_not_satisfiable"),
        ({"begin": "2,0", "end": "2,3"}, 416, "range_not_satisfiable"),
        ({"begin": "3,0", "end": "1,3"}, 416, "range_not_satisfiable"),
        ({"begin": "0"}, 400, "bad_request"),
        ({"end": "1,2,3"}, 400, "bad_request"),
        ({"block": "1,0"}, 400, "bad_request"),
        ({"begin": "0,-1"}, 400, "bad_request"),
        ({"block": "1,1.5"}, 400, "bad_request"),
        ({"address": f"{W_IN}[d_mlp=1]"}, 422, "invalid"),
        ({"address": "weight/blocks.0.mlp.W_inn"}, 422, "invalid"),
    ],
)
def test_what_is_no_part_is_refused_in_one_line(about, query, status, code):
    error(ask(about, **{"address": W_IN, **query}), status, code)


def test_a_part_of_a_trace_that_is_gone_is_refused():
    error(ask({"id": "gone"}, address=W_IN), 404, "unknown_trace")


def test_more_than_a_tile_is_refused_unless_in_blocks(about, values, monkeypatch):
    W_in = values[W_IN]
    monkeypatch.setattr("glassformer.server.parts.TILE_BYTES", 4 * W_in.itemsize)
    message = error(ask(about, address=W_IN), 416, "range_not_satisfiable")
    assert "larger blocks" in message
    assert len(part(about, W_in, address=W_IN, block="2,8")) == 4


def test_counts_are_those_of_numpy(about, values):
    result = ask(about, "counts", address=W_IN).json()
    numbers = values[W_IN].double().numpy()
    assert result["finite"] == numbers.size
    assert result["largest"] == np.abs(numbers).argmax()
    assert result["mean"] == pytest.approx(numbers.mean(), abs=1e-15)
    assert result["spread"] == pytest.approx(numbers.std(), rel=1e-14)
    edges = [result["bins"][0]["from"] - 1e-9, *(one["to"] for one in result["bins"])]
    edges[-1] += 1e-9  # the largest lies on an edge
    assert [one["count"] for one in result["bins"]] == np.histogram(numbers, edges)[0].tolist()


def test_a_picture_has_the_principal_components_of_the_rows_asked_for(about, values):
    W_E = values["weight/embed.W_E"].double()
    for rows in (len(W_E), 5):
        answer = ask(about, "picture", address="weight/embed.W_E", rows=rows)
        numbers = np.frombuffer(answer.content, dtype="<f8")
        centered = (W_E[:rows] - W_E[:rows].mean(0)).numpy()
        _, strengths, directions = np.linalg.svd(centered, full_matrices=False)
        coordinates = numbers[2:].reshape(2, rows)
        assert np.allclose(np.abs(coordinates), np.abs(directions[:2] @ centered.T), atol=1e-9)
        assert numbers[:2] == pytest.approx((strengths**2)[:2] / (strengths**2).sum(), abs=1e-12)


@pytest.mark.parametrize("address", ["fwd/loss", PATTERN])
def test_what_is_no_table_has_no_picture(about, address):
    error(ask(about, "picture", address=address), 422, "invalid")


def test_a_picture_that_takes_too_long_is_refused_with_its_size(about, monkeypatch):
    monkeypatch.setattr("glassformer.server.answers.PICTURE_WORK", 10.0)
    message = error(ask(about, "picture", address="weight/embed.W_E"), 422, "over_budget")
    assert "products" in message


def moved(about, other, address: str, status: int = 200) -> dict:
    answer = ask(about, "change", address=address, other=other["id"])
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_change_between_two_traces_is_that_of_their_recorded_numbers(about, values):
    head = "fwd/blocks.0.attn.z"
    other = open_trace(
        server, edits={f"{head}[head=0]": 0.5}, float64=about["precision"] == "float64"
    )
    after = read_safetensors(all_values(server, other))
    for path in (head, SCORES, "fwd/logits", W_IN):
        result = moved(about, other, path)
        was, now = values[path].double(), after[path].double()
        gap = torch.where(was == now, 0.0, now - was)
        assert result["numbers"] == int((gap != 0).sum()), path
        assert result["of"] == gap.numel()
        assert abs(result["largest"]) == gap.abs().max()
        assert result["edited"] == (path == head)
        length = was[was.isfinite()].norm().item()
        assert result["relative"] == pytest.approx(gap.norm().item() / length, rel=1e-12)
    first = moved(about, other, "fwd/logits")["address"]
    index = tuple(int(part.split("=")[1]) for part in first.split("[")[1][:-1].split(","))
    assert (after["fwd/logits"].double() - values["fwd/logits"].double())[index] == moved(
        about, other, "fwd/logits"
    )["largest"]


def test_a_change_of_what_was_zero_has_no_share(about):
    zeros = {"fwd/blocks.0.attn.attn_out": 0.0}
    double = about["precision"] == "float64"
    other = open_trace(server, edits=zeros, float64=double)
    back = moved(other, about, "fwd/blocks.0.attn.attn_out")
    assert back["relative"] is None
    assert back["numbers"] > 0


def test_values_that_cannot_be_subtracted_are_refused_in_one_line(about):
    shorter = open_trace(server, prompt="the cat")
    query = {"address": "fwd/logits", "other": shorter["id"]}
    message = error(ask(about, "change", **query), 422, "invalid")
    assert "compare texts with as many tokens" in message
    error(ask(about, "change", **{**query, "address": "fwd/logits[pos=0]"}), 422, "invalid")
    error(ask(about, "change", **{**query, "other": "none"}), 404, "unknown_trace")
