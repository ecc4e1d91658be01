"""The compiled step: the text that comes without it, and without a compiler one as well."""

import os
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.generation import packed as packed_module
from glassformer.generation.c_step import library
from glassformer.generation.c_step import step as step_module
from glassformer.generation.c_step.step import CompiledStep
from glassformer.generation.cache import Cache
from glassformer.generation.generate import generate, generate_batch
from glassformer.generation.packed import PackedModel, pack, unpacked
from glassformer.kernels import choices
from glassformer.model import Decoder
from tests.generation.models import TINY, speaking, various

MODERN = {
    "position": "rotary",
    "qk_norm": True,
    "norm": "rms",
    "norm_bias": False,
    "attn_bias": False,
    "mlp_bias": False,
    "activation": "relu_squared",
    "tied": False,
    "embed_norm": True,
}
KINDS = [{}, MODERN, {**MODERN, "norm_gain": False}, {"norm_position": "none", "final_norm": False}]
KINDS += [{"activation": name} for name in ("relu", "gelu", "silu")]
EXPERTS = {"gated": True, "activation": "silu", "n_experts": 4, "experts_per_token": 2}
KINDS += [EXPERTS, {**EXPERTS, "expert_share": True, "attn_sinks": True, "gate_limit": 0.5}]
KINDS += [{"d_model": 15, "n_heads": 3, "d_mlp": 7}, {"vocab_size": 1030, "tied": False}]


def models() -> list[ParameterSet]:
    """Every kind, and models drawn at random; most of them are left to the long tests."""
    made = [speaking(TINY.replace(**kind), gain=4.0) for kind in KINDS]
    made += [various(seed) for seed in range(6)]
    quick = (*range(0, len(KINDS), 2), len(KINDS))
    return [
        pytest.param(model, id=str(i), marks=[] if i in quick else [pytest.mark.heavy])
        for i, model in enumerate(made)
    ]


def compiled(model: Decoder) -> PackedModel:
    """The model as it is, in float64 as well, and its compiled step."""
    packed = unpacked(model)
    packed.compiled = CompiledStep(model)
    return packed


def steps_of(model: Decoder, ids: Tensor, start: int) -> Tensor:
    """Logits of the tokens from `start` on, each read by a compiled step."""
    cache = Cache(model.config, [start], dtype=model.embed.W_E.dtype)
    with torch.inference_mode():
        model(ids[:, :start], cache=cache)
        plan = CompiledStep(model).on(cache)
        return torch.cat([plan.step(ids[:, i : i + 1]) for i in range(start, ids.shape[1])], 1)


@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.heavy)], ids=str
)
@pytest.mark.parametrize("model", models())
def test_a_compiled_step_gives_the_logits_of_the_model_at_every_length(model, dtype):
    model = model.to(dtype)
    text = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (1, model.config.n_ctx), generator=text)
    with torch.inference_mode():
        expected = model(ids)[:, 2:]
    eps = torch.finfo(dtype).eps
    # products of other shapes sum in another order, and exp, tanh and erf are a few units off
    gap = (steps_of(model, ids, 2) - expected).abs().max() / expected.abs().max()
    assert gap < 16 * eps  # 10 are the most that twelve texts of each showed


@pytest.mark.parametrize("how", [{"temperature": 0}, {"temperature": 0.8, "top_p": 0.9}])
@pytest.mark.parametrize("model", models())
def test_in_float64_compiling_never_changes_the_text(model, how):
    text = list(generate(model, [1, 2], seed=5, **how))
    assert list(generate(compiled(model), [1, 2], seed=5, **how)) == text
    assert len(text) == model.config.n_ctx - 1


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in range(1, 6))]
)
def test_in_float32_it_changes_a_token_only_where_the_two_best_are_within_1e_4(seed):
    model = various(seed).float()
    plain = list(generate(model, [1, 2], temperature=0))
    quick = list(generate(pack(model), [1, 2], temperature=0))
    differ = next((i for i, (a, b) in enumerate(zip(plain, quick, strict=True)) if a != b), None)
    if differ is not None:
        with torch.inference_mode():
            best = model(torch.tensor([[1, 2, *plain[:differ]]]))[0, -1].topk(2).values
        assert best[0] - best[1] < 1e-4


def test_texts_of_a_batch_are_those_that_compiled_steps_give_one_by_one():
    packed = compiled(speaking(TINY, gain=4.0))
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    together = generate_batch(packed, prompts, max_new_tokens=8, seed=3)
    alone = [list(generate(packed, p, max_new_tokens=8, seed=3 + i)) for i, p in enumerate(prompts)]
    assert [text.new for text in together] == alone


@pytest.mark.parametrize(("threads", "used_once"), [(1, True), (2, True), (3, False)])
def test_a_large_model_has_its_compiled_step_where_threads_are_few(threads, used_once, monkeypatch):
    monkeypatch.setattr(packed_module, "SMALL", 0)
    used, on, before = [], CompiledStep.on, torch.get_num_threads()
    monkeypatch.setattr(
        CompiledStep, "on", lambda *arguments: used.append(arguments) or on(*arguments)
    )
    model = speaking(TINY, gain=4.0)
    packed = compiled(model)
    torch.set_num_threads(threads)
    try:
        text = list(generate(packed, [1, 2], temperature=0))
        together = generate_batch(packed, [[1, 2], [3]], temperature=0)
    finally:
        torch.set_num_threads(before)
    assert len(used) == used_once  # the batch is read at once, by the flat plan
    assert text == together[0].new == list(generate(model, [1, 2], temperature=0))


@pytest.mark.parametrize("packs", [True, False])
def test_a_large_model_in_fp32_is_packed_where_the_table_says_so(packs, monkeypatch):
    chosen = choices.LARGE_FP32_IS_PACKED._replace(value=packs)
    monkeypatch.setattr(choices, "LARGE_FP32_IS_PACKED", chosen)
    monkeypatch.setattr(packed_module, "SMALL", 0)
    model = speaking(TINY, gain=4.0).float()
    packed = pack(model)
    assert (packed.compiled is not None) == packs
    assert [*generate(packed, [1, 2], temperature=0)] == [*generate(model, [1, 2], temperature=0)]


def test_two_texts_that_take_turns_do_not_disturb_each_other():
    packed = compiled(speaking(TINY, gain=4.0))
    prompts = [[1, 2, 3], [4, 5]]
    turns = [generate(packed, prompt, temperature=0, max_new_tokens=9) for prompt in prompts]
    for _ in range(9):
        for text in turns:
            next(text)
    assert [text.new for text in turns] == [
        list(generate(packed, prompt, temperature=0, max_new_tokens=9)) for prompt in prompts
    ]


def test_a_model_in_float32_is_compiled_when_it_is_packed_in_float32_and_no_other():
    assert pack(Decoder(TINY)).compiled is not None
    assert pack(Decoder(TINY), "int8").compiled is None
    assert pack(Decoder(TINY).double()).compiled is None
    assert unpacked(Decoder(TINY)).compiled is None


def test_another_model_of_the_same_shape_needs_no_compiler(monkeypatch):
    first = CompiledStep(speaking(TINY, seed=1).float())
    monkeypatch.setattr(library, "_compile", lambda *_: pytest.fail("compiled again"))
    other = speaking(TINY, seed=2).float()
    assert CompiledStep(other).source == first.source
    assert list(generate(pack(other), [1], temperature=0)) == list(
        generate(other, [1], temperature=0)
    )


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_working_compiler_it_is_said_and_the_text_is_the_same(
    compiler, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    noted(speaking(TINY, gain=4.0).float(), f".*{compiler}")
    assert not list(tmp_path.rglob("*.so"))


def noted(model: Decoder, match: str) -> None:
    """Packing says why there is no compiled step, and texts come without one."""
    with pytest.warns(UserWarning, match=f"without a compiled step: {match}"):
        packed = pack(model)
    assert packed.compiled is None
    assert list(generate(packed, [1], temperature=0)) == list(generate(model, [1], temperature=0))


def test_a_missing_compiler_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    said = ".*'no-such-compiler'; install a C compiler, or name one in \\$CC"
    noted(speaking(TINY, gain=4.0).float(), said)


def test_without_a_home_it_is_said_and_the_text_is_the_same(monkeypatch):
    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    noted(speaking(TINY, gain=4.0).float(), "there is no home .* folder in \\$XDG_CACHE_HOME")


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_nothing_is_run_from_a_folder_that_others_may_write_to(mode, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pack(Decoder(TINY))
    (tmp_path / "glassformer" / "steps").chmod(mode)
    noted(speaking(TINY, gain=4.0).float(), ".*others may write to it.* in \\$XDG_CACHE_HOME")


def test_nothing_is_run_from_another_user_s_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pack(Decoder(TINY))
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    noted(speaking(TINY, gain=4.0).float(), ".*another user's")


def test_the_folder_of_libraries_is_for_its_user_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = os.umask(0)
    try:
        assert pack(Decoder(TINY)).compiled is not None
    finally:
        os.umask(before)
    assert (tmp_path / "glassformer" / "steps").stat().st_mode & 0o777 == 0o700


def test_a_library_that_a_crash_left_empty_is_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "glassformer" / "steps").mkdir(mode=0o700, parents=True)
    # the name that it will have: a library once loaded must not be cut short
    monkeypatch.setattr(library, "_compile", lambda _compiler, _source, file: file.touch())
    with pytest.warns(UserWarning, match="file too short"):
        pack(Decoder(TINY))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pack(Decoder(TINY)).compiled is not None
    (file,) = tmp_path.rglob("*.so")
    assert file.stat().st_size > 0


def compiler(folder: Path, script: str) -> str:
    """A compiler of one's own."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def test_a_new_version_of_the_compiler_compiles_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for version in (1, 2, 2):
        script = f'[ "$1" = --version ] && echo {version} || exec cc "$@"'
        monkeypatch.setenv("CC", compiler(tmp_path, script))
        assert pack(Decoder(TINY)).compiled is not None
    assert len(list(tmp_path.rglob("*.so"))) == 2


def test_a_compiler_that_does_not_know_this_processor_compiles_without(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = 'case "$*" in *-march*) exit 1;; esac; exec cc "$@"'
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    assert pack(Decoder(TINY)).compiled is not None


def test_of_what_a_failed_compiler_says_the_error_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = """[ "$1" = --version ] && exit
for i in $(seq 9); do echo "step.c:$i: note: much is said before what matters" >&2; done
echo "step.c:10: error: it is too late" >&2
exit 1"""
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    noted(speaking(TINY, gain=4.0).float(), ".*error: it is too late$")


def test_where_nothing_can_be_kept_it_is_said_and_the_text_is_the_same(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    noted(speaking(TINY, gain=4.0).float(), ".*Not a directory.* in \\$XDG_CACHE_HOME")


def test_a_model_in_training_is_compiled_without_dropout_and_left_in_training():
    model = speaking(TINY.replace(dropout=0.5), gain=4.0).train()
    text = list(generate(model, [1], temperature=0))
    assert list(generate(compiled(model), [1], temperature=0)) == text
    assert model.training


def test_a_model_that_reads_one_token_has_no_step_to_compile():
    packed = pack(Decoder(TINY.replace(n_ctx=1)))
    assert len(list(generate(packed, [1]))) == 1


def test_a_number_made_outside_the_tape_is_noticed_when_it_is_compiled():
    class Sneaky(Decoder):
        def residual(self, *args, **more):
            return super().residual(*args, **more) * 2

    model = Sneaky(TINY).train()
    with pytest.raises(RuntimeError, match="compute it on the tape"):
        CompiledStep(model)
    assert all(module.training for module in model.modules())


def test_a_formula_without_loops_is_not_compiled_and_it_is_said(monkeypatch):
    def c_function(*_):
        raise ValueError("a drawn number has no arithmetic")

    monkeypatch.setattr(step_module, "c_function", c_function)
    noted(speaking(TINY, gain=4.0).float(), "a drawn number has no arithmetic")


def test_a_step_with_dropout_is_not_compiled_and_it_is_said():
    model = Decoder(TINY.replace(dropout=0.5)).eval()
    model.blocks[1].train()
    with pytest.warns(UserWarning, match="without a compiled step: kept is no operand"):
        assert pack(model).compiled is None


def test_a_compiled_step_keeps_the_weights_that_it_points_to():
    model = speaking(TINY, gain=4.0).float()
    ids = torch.tensor([[1, 2, 3]])
    expected = steps_of(model, ids, 2)
    cache = Cache(TINY, [2], dtype=torch.float32)
    with torch.inference_mode():
        model(ids[:, :2], cache=cache)
    plan = CompiledStep(model).on(cache)
    model.double()  # lets the memory of the weights go
    reused = [torch.full_like(p, torch.nan, dtype=torch.float32) for p in model.parameters()]
    assert torch.equal(plan.step(ids[:, 2:]), expected)
    del reused


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"dtype": torch.bfloat16}, "these are torch.bfloat16 on cpu"),
        ({"device": "meta"}, "these are torch.float32 on meta"),
    ],
    ids=str,
)
def test_a_step_for_other_weights_than_c_reads_is_refused(kind, said):
    with pytest.raises(GlassformerError, match=said):
        CompiledStep(Decoder(TINY).to(**kind))


def test_a_step_for_weights_of_two_kinds_is_refused():
    model = Decoder(TINY)
    model.embed.double()
    with pytest.raises(GlassformerError, match=r"torch.float32 on cpu, torch.float64 on cpu"):
        CompiledStep(model)


def test_a_step_beyond_the_cache_is_refused():
    cache = Cache(TINY, [1], capacity=2)
    plan = CompiledStep(Decoder(TINY).eval()).on(cache)
    cache.advance(1)
    plan.step(torch.tensor([[1]]))
    with pytest.raises(GlassformerError, match="3 tokens do not fit a cache of 2 positions"):
        plan.step(torch.tensor([[1]]))
