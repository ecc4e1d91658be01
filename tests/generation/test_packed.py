"""Packed weights and the flat plan: the model's own numbers, by a shorter way."""

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.generation import packed as packed_module
from glassformer.generation.cache import Cache
from glassformer.generation.generate import generate, generate_batch
from glassformer.generation.layouts import Blocked
from glassformer.generation.packed import WEIGHTS, pack, unpacked
from glassformer.generation.plan import ExecutionPlan
from glassformer.kernels import choices
from glassformer.model import Config, Decoder
from tests.generation.models import TINY, speaking, various

ALLOWED = {"float32": 1e-5, "bfloat16": 0.04, "int8": 0.04}
"""Errors of the logits, as a share of the largest: what 8 bits of mantissa leave after a layer."""


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", range(6))
def test_packed_logits_are_the_model_s_within_the_rounding_of_its_weights(
    seed, weights, monkeypatch
):
    monkeypatch.setattr(packed_module, "SMALL", 0)  # so that float32 weights are copied too
    model = various(seed).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)  # no saturated attention, where rounding decides
    ids = torch.randint(model.config.vocab_size, (2, 7))
    with torch.inference_mode():
        expected, result = model(ids), pack(model, weights)(ids)
    assert (result - expected).abs().max() <= ALLOWED[weights] * expected.abs().max()


@pytest.mark.parametrize("seed", range(10))
def test_a_program_gives_the_logits_of_the_model_it_was_taken_from(seed):
    model = various(seed)
    ids = torch.randint(model.config.vocab_size, (2, 9))
    with torch.inference_mode():
        expected = model(ids)
        cache = Cache(model.config, [4, 4], dtype=torch.float64)
        packed = unpacked(model)
        packed(ids[:, :4], cache)
        plan = ExecutionPlan(packed, cache)
        steps = [plan.step(ids[:, i : i + 1]) for i in range(4, 9)]
    torch.testing.assert_close(torch.cat(steps, 1), expected[:, 4:], rtol=0, atol=1e-12)


def test_rotary_positions_and_normed_queries_are_in_the_program_too():
    model = speaking(TINY.replace(position="rotary", qk_norm=True))
    cached = generate(model, [1, 2, 3], temperature=0)
    assert list(cached) == list(generate(model, [1, 2, 3], temperature=0, use_cache=False))


def test_a_number_made_outside_the_tape_is_noticed_and_not_repeated_forever():
    class Sneaky(Decoder):
        def residual(self, *args, **more):
            return super().residual(*args, **more) * 2

    model = Sneaky(TINY).eval()
    cache = Cache(model.config, [1])
    with torch.inference_mode(), pytest.raises(RuntimeError, match="compute it on the tape"):
        ExecutionPlan(unpacked(model), cache).step(torch.tensor([[1]]))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_packed_text_is_the_same_alone_in_a_batch_and_drawn_again(weights):
    packed = pack(speaking(TINY, gain=4.0).float(), weights)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    together = generate_batch(packed, prompts, max_new_tokens=6, seed=3)
    again = generate_batch(packed, prompts, max_new_tokens=6, seed=3)
    assert [text.new for text in together] == [text.new for text in again]
    alone = [list(generate(packed, p, max_new_tokens=1, seed=3 + i)) for i, p in enumerate(prompts)]
    assert [text.new[:1] for text in together] == alone


@pytest.mark.parametrize("width", [6, 16, 22, 48])
def test_int8_takes_widths_that_its_kernel_does_not(width):
    torch.manual_seed(0)
    config = Config(vocab_size=13, n_ctx=8, d_model=width, n_layers=1, n_heads=2)
    model = Decoder(config).eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        expected, result = model(ids), pack(model, "int8")(ids)
    assert (result - expected).abs().max() <= ALLOWED["int8"] * expected.abs().max()


def test_weights_that_were_trained_after_packing_are_refused():
    model = Decoder(TINY).eval()
    packed = pack(model)
    with torch.no_grad():
        model.embed.W_E.add_(1)
    with pytest.raises(GlassformerError, match="changed since they were packed; pack it again"):
        generate(packed, [1])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_that_were_moved_or_widened_after_packing_are_refused(weights):
    for change in (Decoder.double, Decoder.share_memory):
        model = Decoder(TINY).eval()
        packed = pack(model, weights)
        change(model)
        with pytest.raises(GlassformerError, match="changed since they were packed"):
            generate(packed, [1])


def doubled(model: Decoder) -> None:
    model.double()


def trained(model: Decoder) -> None:
    with torch.no_grad():
        model.embed.W_E.add_(1)


@pytest.mark.parametrize("change", [doubled, trained])
@pytest.mark.parametrize("packing", [unpacked, pack])
def test_a_model_that_changes_in_the_middle_of_a_text_ends_it_with_an_error(packing, change):
    model = Decoder(TINY).eval()
    text = generate(packing(model), [1], temperature=0)
    next(text)
    next(text)
    change(model)
    with pytest.raises(GlassformerError, match="while a text was coming; begin the text again"):
        next(text)


def test_an_unknown_width_of_weights_is_answered_with_the_known_ones():
    with pytest.raises(GlassformerError, match="'int4' is none of float32, bfloat16, int8"):
        pack(Decoder(TINY), "int4")


def test_generating_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(generate(Decoder(TINY), [1], max_new_tokens=3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_int8_off_the_cpu_is_refused():
    with torch.device("meta"):
        model = Decoder(TINY)
    with pytest.raises(GlassformerError, match="on the CPU only, and this model is on meta"):
        pack(model, "int8")


@pytest.mark.parametrize("in_rows", [True, False])
def test_a_row_and_several_rows_in_bfloat16_are_the_same_product(monkeypatch, in_rows):
    """By PyTorch's own product and by oneDNN's, and oneDNN stays switched on."""
    choice = choices.BF16_ROW_BY_TORCH._replace(value=in_rows)
    monkeypatch.setattr(choices, "BF16_ROW_BY_TORCH", choice)
    generator = torch.Generator().manual_seed(0)
    W, b = torch.randn(96, 200, generator=generator), torch.randn(200, generator=generator)
    x = torch.randn(3, 96, generator=generator)
    product = Blocked(W, b, torch.bfloat16)
    exact = x.bfloat16().double() @ W.bfloat16().double() + b.bfloat16().double()
    size = 2**-8 * exact.abs().max()  # the sum is rounded to bfloat16 once
    assert (product(x) - exact).abs().max() <= size
    for i in range(3):
        assert (product(x[i : i + 1]) - exact[i]).abs().max() <= size
    assert torch.backends.mkldnn.enabled
