"""A biography finds the update that moved a number most, and shows what training really did."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.lab.biography import Followed, biography, weight_slice
from glassformer.model import Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address
from glassformer.trace.cancel import Cancelled
from glassformer.training.corpora import open_data
from glassformer.training.run import read_description
from tests.training.replayed import STEPS, train_run

ELEMENT = Address.parse("blocks.0.attn.W_K[head=1,d_model=3,d_head=2]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("biography") / "run"
    return folder, train_run(folder, dropout=0.0, save_every=5)


def recorded(run, where: Address) -> dict[int, torch.Tensor]:
    """What training had at the address after each step."""
    folder, weights = run
    model = Decoder(read_description(folder).model)
    result = {}
    for step, values in weights.items():
        model.load_state_dict(values)
        result[step] = weight_slice(model, where)
    return result


@pytest.mark.parametrize("name", [str(ELEMENT), "blocks.0.attn.W_K[head=1]", "weight/embed.W_E"])
def test_the_values_are_those_of_training_bit_for_bit(run, name: str):
    life = biography(run[0], Address.parse(name))
    values = recorded(run, life.address)
    assert [point.step for point in life.points] == [0, 1, 2, 4, 8, 10, 13]
    for point in [*life.points, *life.path]:
        assert torch.equal(point.value, values[point.step])
    ends = [life.path[0].step, life.path[-1].step]
    assert ends in [[a.step, b.step] for a, b in pairwise(life.points)]


def largest(values: dict[int, torch.Tensor], start: int, end: int) -> int:
    """The update with the largest change of those after `start`, up to `end`."""
    changes = {t: (values[t].double() - values[t - 1]).norm().item() for t in range(1, STEPS + 1)}
    return max(range(start + 1, end + 1), key=changes.__getitem__)


@pytest.mark.parametrize("name", [str(ELEMENT), "blocks.0.mlp.W_in", "pos_embed.W_pos[pos=2]"])
def test_the_turn_is_the_largest_change_of_all_updates(run, name: str):
    life = biography(run[0], Address.parse(name))
    values = recorded(run, life.address)
    assert life.updates == STEPS
    assert life.turn.step == largest(values, 0, STEPS)
    assert life.path[0].step < life.turn.step <= life.path[-1].step
    assert torch.equal(life.turn.before, values[life.turn.step - 1])
    assert torch.equal(life.turn.after, values[life.turn.step])


@pytest.mark.parametrize("name", [str(ELEMENT), "blocks.0.mlp.W_in"])
def test_with_little_time_the_stretch_of_most_movement_is_searched_and_said(run, name: str):
    life = biography(run[0], Address.parse(name), seconds=0)
    values = recorded(run, life.address)
    mean = {
        (a, b): (values[b].double() - values[a]).norm().item() / (b - a)
        for a, b in pairwise(point.step for point in life.points)
    }
    stretch = max(mean, key=mean.__getitem__)
    assert life.searched == [stretch]
    assert life.turn.step == largest(values, *stretch)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("blocks.0.mlp.W_in[d_model=1,d_mlp=2]", {"Muon": 0.04}),
        ("embed.W_E[vocab=1,d_model=2]", {"AdamW": 0.01}),
        ("fwd/blocks.0.resid_post[pos=1,d_model=2]", {"Muon": 0.04, "AdamW": 0.01}),
    ],
)
def test_the_learning_rate_is_that_of_the_optimizer_that_moves_it(
    tmp_path: Path, name: str, rates: dict[str, float]
):
    train_run(tmp_path / "run", optimizer="muon", steps=2, warmup_steps=0, final_lr=1.0)
    ids = torch.tensor([Tokenizer.load(tmp_path / "run").encode("the cat sat on")])
    turn = biography(tmp_path / "run", Address.parse(name), ids).turn
    assert turn.rates == pytest.approx(rates)


def test_the_turn_has_the_batch_and_the_gradient_of_that_update(run):
    folder, weights = run
    life = biography(folder, ELEMENT)
    description = read_description(folder)
    recipe = description.recipe
    data = open_data(folder / "data", description.corpus, Tokenizer.load(folder), recipe)
    first = (life.turn.step - 1) * recipe.accumulate
    model = Decoder(description.model)
    model.load_state_dict(weights[life.turn.step - 1])
    for i, batch in enumerate(life.turn.batches):
        assert torch.equal(batch.ids, data.batch(first + i, recipe.batch_size).ids)
        (model.loss(batch.ids, batch.targets, **batch.extra) / recipe.accumulate).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    gradient = weight_slice(model, ELEMENT, gradient=True)
    assert life.turn.gradient is not None
    # the same sums in another order: fp32 rounds them to about 1e-6 of their size
    torch.testing.assert_close(life.turn.gradient, gradient, rtol=1e-4, atol=1e-8)
    assert life.turn.grad_norm == pytest.approx(norm.item(), rel=1e-5)


def test_a_value_is_read_on_the_prompt_as_the_model_of_that_step_reads_it(run):
    folder, weights = run
    ids = torch.tensor([Tokenizer.load(folder).encode("the cat sat on")])
    life = biography(folder, Address.parse("blocks.0.attn.pattern[head=1]"), ids)
    assert life.axes == ("query", "key")
    assert life.turn.gradient is None
    model = Decoder(read_description(folder).model).eval()
    for point in life.points:
        model.load_state_dict(weights[point.step])
        pattern = model.watch(ids)["blocks.0.attn.pattern[head=1]"]
        assert torch.equal(point.value, pattern)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("weight/blocks.0.attn.W_Z", "no weight 'blocks.0.attn.W_Z'"),
        ("blocks.0.attn.pattern", "--prompt"),
        ("bwd/embed.W_E", "can't be followed"),
        ("@step=3 embed.W_E", "leave out @step"),
        ("embed.W_E[vocab=99]", "vocab goes from 0 to"),
    ],
)
def test_what_cannot_be_followed_is_said(run, address: str, message: str):
    with pytest.raises(GlassformerError, match=message):
        biography(run[0], Address.parse(address))


def test_one_saved_step_is_no_biography(tmp_path: Path):
    train_run(tmp_path / "r", snapshot_mb=0, steps=2, save_every=0)
    saved = sorted((tmp_path / "r" / "checkpoints").iterdir())
    for folder in saved[:-1]:
        folder.rename(tmp_path / folder.name)
    with pytest.raises(GlassformerError, match=r"nothing saved leads to step 0|one step only"):
        biography(tmp_path / "r", ELEMENT)


def test_a_replay_ends_once_it_is_cancelled(run):
    asked = iter([False, False, True])
    with pytest.raises(Cancelled, match="it ends at 10"):
        Followed(run[0], ELEMENT).replay(8, 13, lambda: next(asked))
