"""Runs, models and presets are served under short ids, with what the page asks about them."""

import functools
import json
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.interop.folder import save
from glassformer.lab.biography import biography
from glassformer.metrics import Row
from glassformer.model import Config, Decoder
from glassformer.server import answers, runnable
from glassformer.server.runnable import packed_model
from glassformer.server.runs import Runs
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address
from glassformer.training.choices import Choices
from glassformer.training.examples import examples
from glassformer.training.loop import train
from glassformer.training.prepare import new_run
from glassformer.training.run import read_metrics
from glassformer.training.train_state import TrainState, open_run, open_train_state
from tests.server.served import client, error, node_table, open_trace
from tests.training.replayed import train_run

TEXT = "the cat sat on the mat. a red dog ran to the house. " * 40
STEPS = 12


@functools.cache
def trained() -> Path:
    """A run of twelve updates on a short text, snapshots and all."""
    folder = Path(tempfile.mkdtemp())
    (folder / "text.txt").write_text(TEXT)
    sizes = {"n_ctx": 16, "d_model": 16, "n_layers": 1, "n_heads": 2}
    choices = Choices(
        texts=(str(folder / "text.txt"),),
        tokenizer="words",
        model=sizes,
        recipe={"steps": STEPS, "batch_size": 4, "eval_every": 4, "warmup_steps": 2},
        device="cpu",
    )
    prepared = new_run(folder / "red house", choices)
    with prepared.run as run:
        train(prepared.model, prepared.data, prepared.recipe, run=run)
    return folder / "red house"


def test_a_run_tells_what_the_page_shows_of_it():
    server = client(str(trained()))
    assert [run["id"] for run in server.get("/api/runs").json()["runs"]] == ["red-house"]
    info = server.get("/api/runs/red-house").json()
    state = open_train_state(str(trained()))
    assert info["name"] == "red house"
    assert info["kind"] == "run"
    assert info["steps_done"] == STEPS
    assert info["steps_left"] == 0
    assert info["snapshots"] == [0, 1, 2, 4, 8, STEPS]
    assert info["parameters"] == sum(p.numel() for p in state.model.parameters())
    assert info["config"] == state.model.config.to_dict()
    assert info["recipe"]["steps"] == STEPS
    assert info["tokenizer"]["kind"] == "words"
    weights = {view.name: list(view.value.shape) for view in state.model.views()}
    assert {w["name"]: w["shape"] for w in info["weights"]} == weights
    assert sum(w["share"] for w in info["weights"]) == pytest.approx(1)


def test_a_run_tells_how_many_of_its_steps_are_not_done(tmp_path):
    folder = tmp_path / "stopped"
    shutil.copytree(trained(), folder)
    server = client(str(folder), "miniature")
    rows = read_metrics(folder / "metrics.jsonl")
    kept = [json.dumps(row) + "\n" for row in rows if row["step"] <= 5]
    (folder / "metrics.jsonl").write_text("".join(kept))
    run, preset = server.get("/api/runs").json()["runs"]
    assert (run["steps_done"], run["steps_left"]) == (5, STEPS - 5)
    assert preset["steps_left"] is None


def test_a_page_is_given_a_small_model_whose_training_is_over_and_no_other(tmp_path, monkeypatch):
    packed = []

    def counted(state):
        packed.append(packed_model(state))
        return packed[-1]

    monkeypatch.setattr(answers, "packed_model", counted)
    server = client(str(trained()))
    once, again = (server.get("/api/runs/red-house/model").json() for _ in range(2))
    assert once == again == packed[0].model_dump(mode="json")
    assert len(packed) == 1
    assert once["done"] == STEPS
    going_on = tmp_path / "red house"
    shutil.copytree(trained(), going_on)
    text = (going_on / "run.json").read_text()
    (going_on / "run.json").write_text(text.replace(f'"steps": {STEPS}', f'"steps": {STEPS + 5}'))
    assert client(str(going_on)).get("/api/runs/red-house/model").json() is None
    monkeypatch.setattr(runnable, "MODEL_BYTES", 0)
    assert client(str(trained())).get("/api/runs/red-house/model").json() is None


@pytest.mark.parametrize(("losses", "left"), [([3, 2, 1], 7), ([3, 1, 2], 7), ([1, 2, 2], 0)])
def test_a_run_that_its_patience_ended_has_no_steps_left(tmp_path, losses, left):
    folder = tmp_path / "patient"
    shutil.copytree(trained(), folder)
    described = json.loads((folder / "run.json").read_text())
    described["recipe"] |= {"patience": 2, "eval_every": 1}
    (folder / "run.json").write_text(json.dumps(described))
    rows = [{"step": i + 3, "val_loss": loss} for i, loss in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert client(str(folder)).get("/api/runs/patient").json()["steps_left"] == left


def test_a_model_that_several_ask_for_at_once_is_opened_once_and_one_that_failed_again(monkeypatch):
    tried = []

    def slowly(where: str, at_step: int | None) -> TrainState:
        time.sleep(0.05)
        tried.append(where)
        if len(tried) == 1:
            raise GlassformerError("its weights are being written")
        return open_train_state(where, at_step)

    monkeypatch.setattr("glassformer.server.runs.open_train_state", slowly)
    runs = Runs([str(trained())])
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(runs.train_state, "red-house") for _ in range(4)]
    failed = [one for one in asked if one.exception() is not None]
    states = [one.result() for one in asked if one not in failed]
    assert (len(failed), len(tried)) == (1, 2)
    assert all(state is states[0] for state in states)
    assert runs._opening == {}


def test_the_suggested_prompts_can_be_traced_and_hold_no_unknown_word():
    server = client(str(trained()), "miniature", "worked_example")
    for run in server.get("/api/runs").json()["runs"]:
        info = server.get(f"/api/runs/{run['id']}").json()
        request = {"run": run["id"], "prompt": info["suggested_prompt"]}
        request["target"] = info["suggested_target"]
        assert server.post("/api/traces", json=request).status_code == 200, info
        assert len(info["examples"]) > 1
        for prompt in info["examples"]:
            about = server.post("/api/traces", json={"run": run["id"], "prompt": prompt}).json()
            assert "<unk>" not in about["tokens"]


@pytest.mark.parametrize("kind", ["bpe", "chars"])
def test_a_model_of_pieces_is_prompted_with_sentences_of_its_own_text(tmp_path, kind):
    text = "All happy families are alike; each unhappy one is so in its own way. It was so. "
    tokenizer = Tokenizer.train(kind, [text], vocab_size=300)
    write_shard(tmp_path, [text * 40], tokenizer)
    prompts = [prompt for prompt, _ in examples(tokenizer, 64, tmp_path)]
    assert len(set(prompts)) == len(prompts) > 1
    assert prompts[0] == "All happy families are alike; each"
    assert all(prompt in text * 2 for prompt in prompts)
    assert examples(tokenizer, 64, tmp_path / "moved")[0][0] == "Once upon a time"


@pytest.mark.parametrize("kind", ["bpe", "chars"])
def test_a_text_without_spaces_and_a_short_context_have_prompts_too(tmp_path, kind):
    text = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏" * 4
    tokenizer = Tokenizer.train(kind, [text], vocab_size=300)
    write_shard(tmp_path, [text], tokenizer)
    for n_ctx in (64, 8):
        prompt, _ = examples(tokenizer, n_ctx, tmp_path)[0]
        assert text.startswith(prompt)
        assert len(prompt) > 1
        assert len(tokenizer.encode(prompt)) < n_ctx


def test_words_of_the_runs_own_text_go_first_where_it_is_asked(tmp_path):
    text = "the cat sat on the mat . " * 20
    tokenizer = Tokenizer.train("words", ["a cat sat . " + text])
    write_shard(tmp_path, ["a cat sat . " + text], tokenizer)
    assert examples(tokenizer, 64, tmp_path)[0] == ("the cat sat on the", "mat")
    assert examples(tokenizer, 64, tmp_path, own_first=True)[0][0].startswith("a cat sat")


def test_the_metrics_are_those_of_the_training_one_row_a_step():
    result = client(str(trained())).get("/api/runs/red-house/metrics").json()
    lines = (trained() / "metrics.jsonl").read_text().splitlines()
    written = [json.loads(line) for line in lines]
    losses = {row["step"]: row["loss"] for row in written if "loss" in row}
    held_out = {row["step"]: row["val_loss"] for row in written if "val_loss" in row}
    assert [row["step"] for row in result["rows"]] == list(range(STEPS + 1))
    for row in result["rows"]:
        assert row["loss"] == losses.get(row["step"])
        assert row["held_out"] == held_out.get(row["step"])
    assert result["floor"] is None


def test_metrics_are_read_again_only_when_a_row_was_added(tmp_path, monkeypatch):
    folder = tmp_path / "growing"
    shutil.copytree(trained(), folder)
    read = []

    def counted(path: Path) -> list[Row]:
        read.append(path)
        return read_metrics(path)

    monkeypatch.setattr("glassformer.server.runs.read_metrics", counted)
    server = client(str(folder))
    for _ in range(2):
        (run,) = server.get("/api/runs").json()["runs"]
        assert server.get("/api/runs/growing").json()["steps_done"] == run["steps_done"] == STEPS
    assert len(read) == 1
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": STEPS + 1, "loss": 0.5}) + "\n")
    (run,) = server.get("/api/runs").json()["runs"]
    assert (run["steps_done"], run["loss"]) == (STEPS + 1, 0.5)
    assert len(read) == 2


def test_a_trace_at_a_step_is_of_the_model_at_that_step():
    server = client(str(trained()))
    for step in (0, 3, None):  # 3 was not saved: it is replayed
        request = {"run": "red-house", "prompt": "the cat sat", "at_step": step}
        about = server.post("/api/traces", json=request).json()
        assert about["at_step"] == step
        state = open_train_state(str(trained()), step)
        logits = state.model(torch.tensor([about["ids"]]))
        assert about["chosen"]["id"] == int(logits[0, -1].argmax())
    request = {"run": "red-house", "prompt": "the cat sat", "at_step": STEPS + 1}
    assert "beyond the run" in error(server.post("/api/traces", json=request), 422, "invalid")


def test_a_preset_has_no_steps_to_go_back_to():
    request = {"run": "miniature", "prompt": "the cat", "at_step": 0}
    error(client().post("/api/traces", json=request), 422, "invalid")


def test_a_run_whose_checkpoints_were_deleted_is_traced_as_a_model(tmp_path):
    folder = tmp_path / "slim"
    shutil.copytree(trained(), folder)
    shutil.rmtree(folder / "snapshots")
    shutil.rmtree(folder / "checkpoints")
    server = client(str(folder))
    request = {"run": "slim", "prompt": "the cat sat"}
    assert server.post("/api/traces", json=request).status_code == 200
    assert server.get("/api/runs/slim").json()["snapshots"] == []


def test_a_run_that_is_deleted_while_it_is_open_says_so(tmp_path):
    folder = tmp_path / "gone"
    shutil.copytree(trained(), folder)
    server = client(str(folder), "miniature")
    request = {"run": "gone", "prompt": "the cat sat"}
    about = server.post("/api/traces", json=request).json()
    shutil.rmtree(folder)
    for answer in (
        server.post("/api/traces", json=request),
        server.get("/api/runs/gone"),
        server.get("/api/runs/gone/metrics"),
        server.post("/api/tokenize", json={"run": "gone", "text": "the cat"}),
    ):
        assert "moved or deleted" in error(answer, 404, "unknown_run")
    assert [run["id"] for run in server.get("/api/runs").json()["runs"]] == ["miniature"]
    # what was recorded is still held
    assert server.get(f"/api/traces/{about['id']}/trace.json").status_code == 200


def test_runs_of_one_name_have_ids_of_their_own(tmp_path):
    for parent in ("a", "b"):
        shutil.copytree(trained(), tmp_path / parent / "run")
    runs = Runs([str(tmp_path / parent / "run") for parent in ("a", "b")])
    assert [source.id for source in runs.present] == ["run", "run-2"]


def test_a_name_that_is_no_run_is_refused_at_the_start():
    with pytest.raises(GlassformerError, match="Did you mean 'miniature'"):
        Runs(["minature"])


def test_a_text_is_shown_as_its_tokenizer_reads_it():
    text = "the red cat"
    result = client(str(trained())).post("/api/tokenize", json={"run": "red-house", "text": text})
    tokenizer = Tokenizer.load(trained())
    expected = tokenizer.trace(text)
    tokens = result.json()["tokens"]
    assert [token["id"] for token in tokens] == expected.ids
    assert b"".join(bytes(token["bytes"]) for token in tokens) == b"theredcat"
    assert [step["op"] for step in result.json()["steps"]] == [s.op for s in expected.steps]


def test_a_biography_is_that_of_the_run():
    address = "weight/blocks.0.attn.W_Q[head=0,d_model=1,d_head=2]"
    server = client(str(trained()))
    result = server.post("/api/biography", json={"run": "red-house", "address": address}).json()
    assert [point["step"] for point in result["points"]] == [0, 1, 2, 4, 8, STEPS]
    for point in result["points"]:
        weights = open_train_state(str(trained()), point["step"]).model.weights()
        assert point["value"] == weights["blocks.0.attn.W_Q"][0, 1, 2].item()
    moved = result["moved"]
    assert moved["to"] - moved["from"] == moved["change"]
    assert moved["batch"] != []
    assert sorted([result["since"], *result["others"]]) == [0, 1, 2, 4, 8]
    each = []
    for since, until in pairwise([0, 1, 2, 4, 8, STEPS]):
        request = {"run": "red-house", "address": address, "since": since}
        part = server.post("/api/biography", json=request).json()
        assert (part["since"], part["until"]) == (since, until)
        each.append(part["moved"])
    life = biography(trained(), Address.parse(address))
    assert max(each, key=lambda one: abs(one["change"]))["step"] == life.turn.step
    odd = {"run": "red-house", "address": address, "since": 3}
    assert "no saved step" in error(server.post("/api/biography", json=odd), 422, "invalid")
    query = {"run": "red-house", "address": "blocks.0.attn.W_Q"}
    assert "not one number" in error(server.post("/api/biography", json=query), 422, "invalid")


def test_neighbors_are_the_nearest_tokens():
    server = client("worked_example")
    request = {"run": "worked-example", "token": 0, "count": 3}
    rows = server.post("/api/neighbors", json=request).json()["rows"]
    W_E = open_train_state("worked_example").model.embed.W_E.double()
    cosines = torch.cosine_similarity(W_E, W_E[:1], dim=1)
    cosines[0] = -2
    assert [row["id"] for row in rows] == cosines.argsort(descending=True)[:3].tolist()
    assert rows[0]["cosine"] == pytest.approx(cosines.max().item())
    analogy = {**request, "minus": 1, "plus": 2}
    result = server.post("/api/neighbors", json=analogy).json()["rows"]
    assert not {row["id"] for row in result} & {0, 1, 2}
    error(server.post("/api/neighbors", json={**request, "plus": 1}), 422, "invalid")
    error(server.post("/api/neighbors", json={**request, "token": 99}), 422, "invalid")


def test_a_model_that_was_replaced_is_read_anew(tmp_path):
    folder = tmp_path / "model"
    tokenizer = Tokenizer.from_words(["the", "cat", "sat"])
    server = client("miniature")

    def served() -> tuple[int, float]:
        info = server.get("/api/runs/model").json()
        about = open_trace(server, "model", prompt="the cat sat")
        address = {"address": "weight/embed.W_E"}
        mean = server.get(f"/api/traces/{about['id']}/counts", params=address).json()["mean"]
        return info["parameters"], mean

    for seed, d_model in ((0, 4), (1, 4), (2, 6)):
        torch.manual_seed(seed)
        model = Decoder(Config(vocab_size=3, n_ctx=8, d_model=d_model, n_layers=1, n_heads=2))
        save(model, tokenizer, folder)
        if not seed:
            server = client(str(folder))
        parameters = sum(p.numel() for p in model.parameters())
        assert served() == (parameters, model.embed.W_E.double().mean().item())


def test_a_run_that_was_trained_anew_is_read_anew(tmp_path):
    folder = tmp_path / "run"
    train_run(folder, steps=2)
    server = client(str(folder))
    for lr in (1e-2, 3e-2):
        if lr > 1e-2:
            shutil.rmtree(folder)
            train_run(folder, steps=2, lr=lr)
        about = open_trace(server, "run", prompt="the cat sat", backward=False)
        span = node_of(node_table(server, about), "weight/embed.W_E")["bytes"]
        asked = {"range": f"bytes={span[0]}-{span[1] - 1}"}
        content = server.get(f"/api/traces/{about['id']}/values", headers=asked).content
        weights = open_train_state(str(folder)).model.embed.W_E
        assert torch.equal(
            torch.frombuffer(bytearray(content), dtype=torch.float32), weights.flatten()
        )


def node_of(table: dict[str, Any], address: str) -> dict[str, Any]:
    return next(node for node in table["nodes"] if node["address"] == address)


def test_a_run_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(trained(), folder)
    server, alone = client("miniature", str(folder)), client(str(folder))
    (folder / "metrics.jsonl").write_text("no json\n{}\n")
    assert [run["id"] for run in server.get("/api/runs").json()["runs"]] == ["miniature"]
    for answer in (server.get("/api/runs/broken"), alone.get("/api/runs")):
        assert "line 1 is not valid JSON" in error(answer, 422, "invalid")


def test_a_file_that_goes_away_while_it_is_read_is_an_error_of_one_line(monkeypatch):
    def gone(*_: object) -> None:
        Path("/nowhere/model.safetensors").stat()

    monkeypatch.setattr("glassformer.server.answers.neighbors", gone)
    answer = client("miniature").post("/api/neighbors", json={"run": "miniature", "token": 0})
    assert "/nowhere/model.safetensors" in error(answer, 404, "unknown_run")


def test_a_run_tells_how_its_folder_asks_for_tokens_to_be_chosen(tmp_path):
    model, tokenizer = open_run("worked_example")
    save(model, tokenizer, tmp_path / "model")
    asked = {"do_sample": True, "temperature": 0.7, "top_k": 3}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(asked))
    api = client(str(tmp_path / "model"), "worked_example")
    ids = [row["id"] for row in api.get("/api/runs").json()["runs"]]
    sampled, plain = (api.get(f"/api/runs/{run}").json()["sampling"] for run in ids)
    assert {k: v for k, v in sampled.items() if v is not None} == {"temperature": 0.7, "top_k": 3}
    assert not any(plain.values())
