"""`glassformer params`: exact counts, and no memory for them."""

import json
import resource
import subprocess
import sys

import pytest
import torch

from glassformer.cli import params
from glassformer.cli.params import count
from glassformer.cli.towers_params import count_towers, vocabulary_of
from glassformer.interop.folder import save
from glassformer.interop.open import config_of
from glassformer.model import Config, Decoder, TowersConfig, preset_names
from glassformer.model.kinds import kind_of
from tests.model.variety import config_of as config_of_kind

TOTALS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3": 174_604_259_328,
    "miniature": 268 + 56,
    "worked_example": 160,
}


def as_json(capsys: pytest.CaptureFixture[str], model: str) -> dict:
    params.command(model, as_json=True)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("preset", TOTALS)
def test_preset_has_exactly_its_published_number_of_parameters(preset, capsys):
    counted = as_json(capsys, preset)
    assert counted["total"] == TOTALS[preset]
    assert counted["bytes"] == {"fp32": 4 * TOTALS[preset], "bf16": 2 * TOTALS[preset]}


def test_miniature_counts_as_its_seed_lists_it(capsys):
    counted = as_json(capsys, "miniature")
    listed = {row["component"]: row["parameters"] for row in counted["components"]}
    assert listed == {
        "tokens": 32,
        "positions": 24,
        **dict.fromkeys(["query", "key", "value", "output"], 20),
        "MLP up": 80,
        "MLP down": 68,
        "head": 40,
    }
    assert (counted["without_embeddings"], counted["embeddings"]) == (268, 56)


def test_a_parameter_that_has_no_word_of_its_own_is_counted_under_its_name(monkeypatch):
    config = config_of_kind("like gpt-oss")
    usual = count(config)
    known = [row for row in params.COMPONENTS if row[1] != "sinks"]
    monkeypatch.setattr(params, "COMPONENTS", known)
    rows = count(config)
    [sinks] = [row for row in rows if row.component == "attn.sinks"]
    assert (sinks.part, sinks.shape, sinks.layers) == (params.BLOCK, (config.n_heads,), 2)
    assert sum(row.parameters for row in rows) == sum(row.parameters for row in usual)


@pytest.mark.parametrize("preset", preset_names())
def test_rows_add_up_to_all_parameters_of_the_model(preset):
    config = config_of(preset)
    with torch.device("meta"):
        total = sum(p.numel() for p in kind_of(config)(config).parameters())
    rows = count_towers(config) if isinstance(config, TowersConfig) else count(config)
    assert sum(row.parameters for row in rows) == total


@pytest.mark.parametrize(
    ("preset", "total", "said"),
    [
        (
            "transformer-base",
            63_045_632,
            "65 million: beside the 44,101,632 others that is a table",
        ),
        (
            "transformer-big",
            214_171_648,
            "213 million: beside the 176,283,648 others that is a table",
        ),
    ],
)
def test_the_papers_own_sizes_are_counted_with_their_vocabulary(preset, total, said, capsys):
    """By the paper's formulas: no biases in attention, 37,000 pieces, three tables that are one."""
    d, d_mlp = (512, 2048) if preset.endswith("base") else (1024, 4096)
    mlp, norm = 2 * d * d_mlp + d_mlp + d, 2 * d
    layers = 6 * (4 * d * d + mlp + 2 * norm) + 6 * (8 * d * d + mlp + 3 * norm)
    assert total == 37_000 * d + layers
    params.command(preset)
    shown = capsys.readouterr().out
    assert f"{total:,} parameters" in shown
    assert "Vocabulary of 37,000: one table, shared; the head is the decoder's table." in shown
    assert said in " ".join(shown.split())
    params.command(preset, as_json=True)
    assert json.loads(capsys.readouterr().out)["total"] == total


def test_all_base_rows_of_the_papers_table_fit_one_vocabulary_and_big_another():
    base = config_of("transformer-base")

    def rows(millions: int, **changes: int) -> tuple[int, int]:
        towers = {name: getattr(base, name).replace(**changes) for name in ("encoder", "decoder")}
        config = base.replace(**towers)
        total = sum(row.parameters for row in count_towers(config))
        return vocabulary_of(config, total, millions)[1:]

    printed = [
        *(rows(65), rows(36, n_layers=2), rows(50, n_layers=4), rows(80, n_layers=8)),
        *(rows(28, d_model=256, d_mlp=2048), rows(168, d_model=1024, d_mlp=2048)),
        *(rows(53, d_mlp=1024), rows(90, d_mlp=4096)),
    ]
    assert max(least for least, _ in printed) == 41_004
    assert min(most for _, most in printed) == 41_208
    assert rows(213, d_model=1024, d_mlp=4096, n_heads=16) == (35_368, 36_344)


@pytest.mark.parametrize(
    "changes",
    [
        {"position": "sinusoidal", "norm_bias": False, "head_bias": True, "d_head": 3},
        {"position": "none", "norm_position": "none", "final_norm": False, "attn_bias": False},
        {"norm_position": "post", "norm_gain": False, "mlp_bias": False, "tied": False, "d_mlp": 7},
    ],
)
def test_rows_add_up_for_every_kind_of_part(changes):
    config = Config(vocab_size=13, n_ctx=5, d_model=6, n_layers=3, n_heads=3, **changes)
    total = sum(p.numel() for p in Decoder(config).parameters())
    assert sum(row.parameters for row in count(config)) == total


def test_counting_gpt3_takes_no_memory_for_its_weights():
    limit = 8 * 10**9  # bytes of address space; the weights would take 698 GB
    program = "from glassformer.cli.params import command; command('gpt3', as_json=True)"
    shown = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["total"] == TOTALS["gpt3"]


def test_folder_is_counted_from_its_config_alone(tmp_path, capsys):
    config = Config(vocab_size=13, n_ctx=5, d_model=6, n_layers=2, n_heads=3)
    model = Decoder(config)
    save(model, None, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    counted = as_json(capsys, str(tmp_path / "run"))
    assert counted["total"] == sum(p.numel() for p in model.parameters())


def test_table_fits_80_columns_even_for_gpt3(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    params.command("gpt3")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    table = {tuple(line.split()) for line in lines}
    assert ("Total", "174,604,259,328") in table
    assert ("96", "blocks", "173,961,510,912") in table
    assert ("MLP", "up", "[12288,", "49152]", "603,979,776", "49,152", "604,028,928") in table
    assert lines[-1] == "model.safetensors, header apart: 698.4 GB in fp32, 349.2 GB in bf16"
