"""A step waits for its device once: a GPU that is asked for a number stops until it is there."""

from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from glassformer.training.device import sent
from glassformer.training.loop import Loop
from tests.training.small import small_data, small_model, small_recipe

READS = {"item", "tolist", "cpu", "numpy", "nonzero", "equal", "allclose"} | {
    f"__{kind}__" for kind in ("bool", "int", "float", "index", "array", "contains")
}


class Waits(TorchFunctionMode):
    """What Python reads of tensors that are computed from a model's, while the mode is on.

    On the processor nothing waits; whatever is read here would wait on a GPU.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.computed = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
        self.read: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(id(tensor) in self.computed for tensor in taken):
            if func.__name__ in READS:
                self.read.append(func.__name__)
            self.computed |= {id(t): t for t in tree_leaves(result) if isinstance(t, Tensor)}
        return result


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_of_several_batches_waits_for_its_numbers_once(optimizer):
    recipe = small_recipe(optimizer=optimizer, accumulate=3, eval_every=0, steps=4, clip=0.01)
    loop = Loop(small_model(), small_data(), recipe)
    with Waits(loop.model) as waits:
        for _ in range(recipe.steps):
            loop.advance()
        assert waits.read == ["tolist"] * recipe.steps
        float(loop.model.embed.W_E.detach().sum())
        assert waits.read[-1] == "__float__", "and it is seen where one is read"


def test_a_batch_goes_to_a_gpu_from_pinned_memory_so_that_nobody_waits():
    ids = Mock(spec=Tensor, device=torch.device("cpu"))
    ids.pin_memory.return_value = pinned = Mock(spec=Tensor)
    pinned.to.return_value = there = torch.zeros(0)
    gpu = torch.device("cuda", 1)
    assert sent(ids, gpu) is there
    pinned.to.assert_called_once_with(gpu, non_blocking=True)
    tensor = torch.arange(3)
    assert sent(tensor, torch.device("cpu")) is tensor
