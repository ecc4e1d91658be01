"""Storyland as training sees it: an honest floor, fresh documents, and a demo that runs."""

import math
import os
import re
import subprocess
import sys

import pytest
import torch

from glassformer.cli import demo
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import SILENT
from glassformer.training.checkpoint import steps_saved
from glassformer.training.recipe import Recipe
from glassformer.training.storyland import (
    FRESH_SEED,
    HELD_OUT,
    documents,
    measure,
    open_storyland,
    write_storyland,
)
from tests.calculator import gives

N_CTX = 128


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train("words", (d.text for d in documents("vocabulary", 3000)))


@pytest.fixture(scope="module")
def data(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("storyland")
    recipe = Recipe(steps=10, batch_size=8)
    floor = write_storyland(folder, tokenizer, recipe)
    return open_storyland(folder, tokenizer, N_CTX, recipe.seed, floor)


def test_the_floor_is_the_held_out_documents_own_surprise_per_target(data):
    held_out = [*documents("held out 0", HELD_OUT)]
    n_targets = sum(batch.n_asked for batch in data.held_out(16))
    assert data.floor == pytest.approx(sum(d.nats for d in held_out) / n_targets, rel=1e-12)


def test_the_held_out_part_is_the_held_out_documents_and_nothing_else(data, tokenizer):
    eos = tokenizer.eos_id
    expected = [
        token
        for d in documents("held out 0", HELD_OUT)
        for token in [*tokenizer.encode(d.text), eos]
    ]
    rows = (batch.targets[row] for batch in data.held_out(16) for row in range(len(batch.targets)))
    assert [int(token) for row in rows for token in row if token >= 0] == expected


def test_training_blocks_begin_where_a_document_does(data, tokenizer):
    starts = {tokenizer.encode(d.text)[0] for d in documents("training 0", 80)}
    batch = data.batch(3, 16)
    for ids in batch.ids:
        first = int(ids[1]) if int(ids[0]) == tokenizer.eos_id else int(ids[0])
        assert first in starts


def test_fresh_documents_are_neither_trained_on_nor_held_out():
    seen = {d.text for seed in ("training 0", "held out 0") for d in documents(seed, 500)}
    fresh = [d.text for d in documents(FRESH_SEED, 200)]
    # short documents may come up twice by chance; a long one as good as never
    assert not [text for text in fresh if len(text) > 150 and text in seen]


class Copier(Decoder):
    """Knows by heart what follows each known beginning, and of others nothing."""

    def __init__(self, config: Config, table: dict[tuple[int, ...], int]) -> None:
        super().__init__(config)
        self.table = table

    def forward(self, ids, tape=SILENT, cache=None, begins=None):  # noqa: ARG002
        ids = torch.as_tensor(ids)
        logits = torch.zeros(*ids.shape, self.config.vocab_size)
        for row, tokens in enumerate(ids.tolist()):
            for index in range(len(tokens)):
                known = self.table.get(tuple(tokens[: index + 1]))
                if known is not None:
                    logits[row, index, known] = 100.0
        return logits


def test_a_model_that_knows_every_answer_scores_all_and_one_that_knows_nothing_none(tokenizer):
    config = Config(vocab_size=tokenizer.vocab_size, n_ctx=N_CTX, d_model=4, n_layers=1, n_heads=1)
    table: dict[tuple[int, ...], int] = {}
    eos = tokenizer.eos_id
    assert eos is not None
    for document in documents(FRESH_SEED, 20):
        tokens = [eos, *tokenizer.encode(document.text), eos]
        table |= {tuple(tokens[: i + 1]): tokens[i + 1] for i in range(len(tokens) - 1)}
    all_known = measure(Copier(config, table), tokenizer, n=20)
    assert all_known.right == all_known.asked
    assert sum(all_known.asked.values()) == sum(len(d.answers) for d in documents(FRESH_SEED, 20))
    nothing = measure(Copier(config, {}), tokenizer, n=20)
    assert nothing.loss == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-5)
    assert sum(nothing.right.values()) == 0


SMALL_DEMO = """
import sys
from glassformer.training import prepare
def small(name):
    preset = load_preset(name)
    preset["model"] |= {"d_model": 8, "n_layers": 1, "n_heads": 1}
    preset["training"] |= {"steps": 3, "batch_size": 2}
    return preset
load_preset, prepare.load_preset = prepare.load_preset, small
from glassformer.cli.app import main
sys.argv[1:] = ["demo", "--out", sys.argv[1]]
main()
"""


def test_the_demo_trains_answers_explains_and_draws(tmp_path):
    run = tmp_path / "run"
    # in a process of its own: the tests' type checks make it ten times slower
    command = [sys.executable, "-c", SMALL_DEMO, str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    shown = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment
    )
    assert shown.returncode == 0, shown.stderr
    tokenizer = Tokenizer.load(run)
    for prompt, _ in demo.PROMPTS:
        assert prompt in shown.stdout
        assert tokenizer.unknown_words(prompt) == []
    for words in ("above the floor", "right (", "blocks.0.attn.pattern", "attention.png"):
        assert words in shown.stdout
    loss, above, floor = re.findall(r"loss (\S+), (\S+) above the floor of\s+(\S+)", shown.stdout)[
        0
    ]
    assert gives(f"{loss} - {floor}", above)
    for stage in ("embed", "normalized", "attn_out", "mlp_out", "resid_post", "logits"):
        assert f"  {stage} " in shown.stdout
    assert shown.stdout.count(": agrees") == 1
    assert len(shown.stdout.splitlines()) <= 160
    assert (run / "pictures/loss.png").stat().st_size > 1000
    assert steps_saved(run / "checkpoints") == [0, 3]
