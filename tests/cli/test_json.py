"""`--json`: one JSON object on stdout, in full precision, whatever the command."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import glassformer as gf
from glassformer.cli.streams import say_json
from tests.command_line import Command

CAT = ["worked_example", "the cat sat on"]


@pytest.fixture
def parsed(glassformer: Command):
    """Run a command with --json; return what its whole output says."""

    def answer(*arguments: str) -> Any:
        ended = glassformer(*arguments, "--json")
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)

    return answer


def test_ask_gives_text_tokens_and_why_it_ended(parsed):
    data = parsed("ask", "worked_example", "the cat", "--max-tokens", "2", "--temperature", "0")
    assert [token["token"] for token in data["prompt_tokens"]] == ["the", "cat"]
    assert data["text"].split() == [token["token"] for token in data["tokens"]]
    assert data["finish_reason"] == "length"
    assert data["sampling"]["temperature"] == 0


def test_explain_gives_the_whole_explanation_and_follows_operands(parsed):
    address = "logits[pos=3,vocab=4]"
    data = parsed("explain", *CAT, address, "--follow", "1")
    model, _ = gf.load("worked_example")
    result = model.watch(CAT[1]).explain(address)
    assert data["value"] == result.value  # to the last bit
    assert data["agrees"] is True
    assert [o["value"] for o in data["operands"]] == [o.value for o in result.operands]
    deeper = [o["explanation"]["address"] for o in data["operands"] if "explanation" in o]
    assert deeper
    assert all(where.startswith("fwd/") for where in deeper)


def test_trace_names_every_step_and_gives_the_numbers_that_are_asked_for(parsed):
    data = parsed("trace", *CAT, "--only", "*.pattern")
    model, _ = gf.load("worked_example")
    trace = model.watch(CAT[1])
    assert [node["address"] for node in data["nodes"]] == [node.path for node in trace.computed]
    (pattern,) = [node for node in data["nodes"] if "values" in node]
    assert torch.equal(torch.tensor(pattern["values"]), trace["blocks.0.attn.pattern"][None, None])
    assert data["prediction"][0]["token"] == "cat"


def test_what_json_has_no_number_for_is_a_string(parsed):
    data = parsed("trace", *CAT, "--only", "*.attn_scores")
    rows = next(node["values"] for node in data["nodes"] if "values" in node)
    assert float(rows[0][0][0][1]) == -math.inf
    assert rows[0][0][0][1] == "-Infinity"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_read_back(number, capsys: pytest.CaptureFixture[str]):
    say_json({"value": number}, on_one_line=True)
    read = float(json.loads(capsys.readouterr().out)["value"])
    assert read == number or (math.isnan(read) and math.isnan(number))


def test_step_gives_losses_questions_and_what_each_weight_does(parsed):
    data = parsed("step", *CAT, "--target", "mat")
    (question,) = data["asked"]
    assert question["target"]["token"] == "mat"
    assert question["prob_after"] > question["prob_before"]
    assert data["loss_after"] < data["loss_before"]
    assert all(weight["change"]["largest"] != 0 for weight in data["weights"])
    many = parsed("step", *CAT, "--target", "mat", "--steps", "3")
    assert many["updates"] == [0, 1, 2, 3]
    assert many["losses"][0] == data["loss_before"]


@pytest.mark.parametrize(
    "change",
    [
        ["ablate", *CAT, "--head", "0.0"],
        ["edit", *CAT, "blocks.0.attn.z[head=0]=0"],
        ["patch", *CAT, "blocks.0.attn.z", "--from", "the dog sat on"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_lab_experiments_give_both_passes(parsed, change: list[str]):
    data = parsed("lab", *change, "--target", "mat", "--all")
    assert sum(token["before"] for token in data["next_tokens"]) == pytest.approx(1)
    assert data["target"]["token"] == "mat"
    assert {"before", "after"} == set(data["loss"]) == set(data["target"]["surprise"])
    assert any(change["edited"] for change in data["changes"])


def test_lab_readings_give_their_numbers(parsed):
    lens = parsed("lab", "lens", *CAT)
    assert [point["point"] for point in lens["points"]] == [
        "blocks.0.resid_pre",
        "blocks.0.resid_post",
    ]
    assert len(lens["points"][0]["best"]) == len(lens["tokens"]) == 4
    shares = parsed("lab", "attribution", *CAT, "--token", "mat")
    assert shares["of"] == {"id": 4, "token": "mat"}
    assert shares["total"] == pytest.approx(sum(share["logits"] for share in shares["shares"]))
    answer = parsed("lab", "neighbors", "worked_example", "cat", "-n", "2")
    assert [n["token"] for n in answer["neighbors"]] == ["dog", "mat"]
    assert len(parsed("lab", "analogy", "worked_example", "cat", "the", "mat")["of"]) == 3
    report = parsed("lab", "in-context", "worked_example")
    assert len(report["surprise_by_position"]) == 2 * report["repeated_tokens"] - 1
    assert report["storyland"] is None


def test_counting_measuring_and_splitting(parsed, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat", encoding="utf-8")
    assert parsed("eval", "worked_example", str(text))["tokens"] == 5
    assert parsed("params", "worked_example")["total"] == 160
    data = parsed("tokenize", "the cat", "--corpus", str(text), "--kind", "words")
    assert [token["token"] for token in data["tokens"]] == ["the", "cat"]


def test_an_error_is_one_line_on_stderr_as_without_it(glassformer: Command):
    code, out, err = glassformer("explain", *CAT, "logit[pos=3,vocab=4]", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_train_prints_one_event_a_line(glassformer: Command, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 200, encoding="utf-8")
    sizes = ["--n-ctx", "16", "--d-model", "16", "--n-layers", "1", "--n-heads", "2"]
    steps = ["--steps", "4", "--eval-every", "2", "--tokenizer", "chars", "--no-compile"]
    out = tmp_path / "run"
    ended = glassformer("train", text, "--out", out, *sizes, *steps, "--json")
    assert ended.code == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "plan"
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    assert "evaluation" in names
    notes = [event["note"] for event in events if event["event"] == "note"]
    assert notes[0].startswith("for a text of 4,800 characters: tokenizer chars, n_ctx 16")
    end = {"event": "end", "reason": "finished", "step": 4, "run": str(out)}
    [answer] = events[-1].pop("answers")  # what 16 letters hold of the sentence
    assert events[-1] == end
    assert (answer["prompt"], answer["text"]) == ("the cat sat", "on")
