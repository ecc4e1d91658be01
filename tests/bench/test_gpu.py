"""The GPU benchmark's arithmetic, and what it says where there is no GPU."""

import pytest
import torch

from bench import bench_gpu
from bench.bench_gpu import counted, flops_per_token, mfu, peak_of, run
from glassformer.model import Config, Decoder


def test_the_parameters_counted_leave_out_the_positions():
    config = Config.preset("gpt2")
    assert counted(config) == 124_439_808 - 1024 * 768


def test_the_arithmetic_of_a_token_is_that_of_palm():
    config = Config(vocab_size=10, n_ctx=8, d_model=4, n_layers=2, n_heads=2, position="none")
    attention = 12 * 2 * 2 * 2 * 8  # 12 L H Q T
    assert flops_per_token(config) == 6 * counted(config) + attention


def test_half_the_peak_is_an_mfu_of_one_half():
    config, peak = Config.preset("gpt2"), peak_of("NVIDIA H200") or 0.0
    assert peak == 989e12
    assert mfu(config, peak / 2 / flops_per_token(config), peak) == pytest.approx(0.5)


def test_an_unknown_gpu_has_no_peak():
    assert peak_of("NVIDIA GeForce RTX 4090") is None


def test_without_a_gpu_it_says_so_and_measures_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (row,) = run(1.0)
    assert "no GPU here" in row.what


def test_all_that_a_gpu_is_asked_for_is_measured_on_a_small_model_and_gives_its_mfu(monkeypatch):
    """The same functions on a processor, as if it were an H200."""
    monkeypatch.setattr(bench_gpu, "NEW", 4)
    monkeypatch.setattr(bench_gpu, "PROMPT", 3)
    monkeypatch.setattr(bench_gpu, "timed", lambda once, seconds: (once(), 0.5)[1])
    config = Config(vocab_size=1000, n_ctx=8, d_model=4, n_layers=1, n_heads=1)
    recipe = bench_gpu.RECIPE.replace(batch_size=2, accumulate=3, compile=False)
    speed, share = bench_gpu.training(config, recipe, torch.device("cpu"), "NVIDIA H200", 0.0)
    assert "NVIDIA H200: 0M of 1,000 tokens, 2 x 8 x 3, bf16" in str(speed)
    assert speed.ours == 2 * 8 * 3 / 0.5
    assert share.ours == mfu(config, speed.ours, 989e12)
    assert (share.target, share.verdict) == ((">=", 0.5), ">= 0.5 MISSED")
    model = Decoder(config).eval()
    (decoded,) = bench_gpu.decoding(model)
    assert (decoded.ours, decoded.unit) == (4 / 0.5, "tokens/s")
    forward, trace = bench_gpu.tracing(model)
    assert trace.theirs == forward.ours == 500
