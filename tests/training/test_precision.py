"""Weights stored in half precision are trained in float32: no update is rounded away."""

import copy
import json

import pytest
import torch

from glassformer.interop import load, save
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.choices import Choices
from glassformer.training.loop import Loop, train
from glassformer.training.plan import make_plan
from glassformer.training.prepare import new_run, resumed_run
from glassformer.training.replay import Replay
from tests.training.small import small_data, small_model, small_recipe, weights_equal

HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("products", ["fp32", "bf16"])
@pytest.mark.parametrize("dtype", HALVES)
def test_half_weights_are_trained_as_if_they_had_been_widened_before(dtype, products):
    half = small_model().to(dtype)
    wide = copy.deepcopy(half).float()
    recipe = small_recipe(dtype=products)
    plan = make_plan(half, small_data(), recipe)
    assert plan.precision.endswith(f"they were stored in {str(dtype).removeprefix('torch.')}")
    for model in (half, wide):
        train(model, small_data(), recipe)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert weights_equal(half, wide)


def test_float64_weights_stay_float64():
    model = small_model().double()
    assert Loop(model, small_data(), small_recipe()).model.embed.W_E.dtype == torch.float64


@pytest.mark.parametrize("dtype", HALVES)
def test_a_run_from_a_half_folder_is_resumed_and_replayed_bit_for_bit(tmp_path, dtype):
    tokenizer = Tokenizer.train("words", ["the cat sat on the mat"])
    config = Config(tokenizer.vocab_size, n_ctx=8, d_model=16, n_layers=1, n_heads=2, dropout=0.1)
    torch.manual_seed(0)
    save(Decoder(config).to(dtype), tokenizer, tmp_path / "half")
    (tmp_path / "text.txt").write_text("the cat sat on the mat and sat. " * 40)
    recipe = {"steps": 6, "batch_size": 4, "lr": 1e-2, "save_every": 3, "eval_every": 0}
    choices = Choices(
        (str(tmp_path / "text.txt"),), start_from=str(tmp_path / "half"), recipe=recipe
    )

    def trained(name: str, stop_after: int = 6) -> Decoder:
        model, data, asked, run, _ = new_run(tmp_path / name, choices)
        rows: list[object] = []
        with run:
            train(
                model,
                data,
                asked,
                run=run,
                report=lambda row: rows.append(row) if "loss" in row else None,
                should_stop=lambda: len(rows) == stop_after,
            )
        return model

    straight = trained("whole")
    assert straight.embed.W_E.dtype == torch.float32
    trained("stopped", stop_after=3)
    model, data, asked, run, _ = resumed_run(tmp_path / "stopped")
    with run:
        train(model, data, asked, run=run)
    assert weights_equal(model, straight)
    replay = Replay(tmp_path / "whole", 5)
    replay.advance()
    assert weights_equal(replay.model, straight)
    exported, _ = load(tmp_path / "whole")
    assert weights_equal(exported, straight)
    settings = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert settings["dtype"] == "float32"
