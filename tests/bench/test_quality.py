"""The quality benchmark trains what it says, and scores all of the validation part."""

import math
from pathlib import Path

import pytest
import torch

from bench import bench_quality
from bench.bench_quality import (
    CLASSIC,
    FAST,
    Nano,
    Race,
    make_loop,
    spread_row,
    validation_loss,
    write_text,
)
from glassformer.text.blocks import Blocks

TEXT = "the cat sat on the mat and the dog sat on the log, said the king of the dogs. " * 60


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("quality")
    (folder / "text.txt").write_text(TEXT)
    return write_text(folder / "tokens", folder / "text.txt")


def test_the_two_recipes_are_configurations_of_one_model(shard):
    classic, fast = (make_loop(name, shard, 4) for name in (CLASSIC, FAST))
    assert sum(p.numel() for p in fast.model.parameters()) <= 1.1e6
    assert type(classic.model) is type(fast.model)
    assert classic.recipe.optimizer == "adamw"
    assert fast.recipe.optimizer == "muon"


def test_every_character_of_the_last_tenth_is_scored_once(shard):
    loop = make_loop(CLASSIC, shard, 4)
    blocks = Blocks(shard, 64)
    n = sum(int((targets >= 0).sum()) for _, targets in blocks.evaluation(128))
    assert n == blocks.n_validation == round(len(shard) / 10)
    # an untrained classic model guesses all but uniformly
    assert abs(validation_loss(loop, shard) - torch.tensor(shard.header.vocab_size).log()) < 0.1


def test_nanogpts_vocabulary_is_the_characters_of_the_text(shard):
    nano, n = Nano(shard), len({*TEXT}) + 1  # the separator, once
    assert nano.training.model.wte.num_embeddings == n
    # untrained it guesses all but uniformly among them
    assert abs(nano.loss() - math.log(n)) < 0.1


def test_a_race_is_all_steps_of_one_and_some_of_the_other_between(shard, monkeypatch):
    parts, turn, warm = 2, 1, 1  # in place of 20 parts of 10 steps, and 3
    for name, value in (("PARTS", parts), ("TURN", turn), ("WARM", warm)):
        monkeypatch.setattr(bench_quality, name, value)
    race, loop = Race(shard, 4, 1.9, False), make_loop(CLASSIC, shard, 3)
    ended, nano = race.train(loop)
    assert (ended.step, race.nano.training.n) == (3, parts * (warm + turn))
    assert nano > 0


def test_a_row_of_some_seeds_is_their_median_and_names_their_range():
    row = spread_row("loss", [1.5, 1.7, 1.6], 1.9, ("<=", 1.65))
    assert row.what == "loss [1.500, 1.700]"
    assert (row.ours, row.verdict) == (1.6, "<= 1.65 met")
