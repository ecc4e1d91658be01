"""Nothing is computed behind the trace's back: every number on the way belongs to a node."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glassformer import ops
from glassformer.trace import Trace
from tests.model.variety import (
    EVERY,
    config_of,
    random_ids,
    random_inputs,
    random_model,
    random_targets,
)

# These hold the same numbers in another layout, or some of them.
COPIES = ("aten.clone", "aten._unsafe_view", "aten.copy_")
REORDERED = ("aten.index.", "aten.cat", "aten.gather", "aten.sort")


class Watcher(TorchDispatchMode):
    """Keeps every floating-point tensor that PyTorch computes, with the name of the operator."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, Tensor]] = []
        self.copied: dict[int, Tensor] = {}
        self.reordered: list[tuple[str, list[Tensor], Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {
            x.untyped_storage().data_ptr() for x in tree_leaves(args) if isinstance(x, Tensor)
        }
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                continue
            storage = tensor.untyped_storage().data_ptr()
            if str(func).startswith(REORDERED):
                floats = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
                floats = [x for x in floats if x.is_floating_point()]
                self.reordered.append((str(func), floats, tensor))
            elif str(func).startswith(COPIES) and storage not in inputs:
                source = next(x for x in tree_leaves(args) if isinstance(x, Tensor))
                self.copied[storage] = source
            elif storage not in inputs:  # neither a view nor in place
                self.made.append((str(func), tensor))
        return result

    def unexplained(self, trace: Trace) -> list[str]:
        """Operators whose output is the value of no node, weight or constant."""
        known = {trace.value_of(node).untyped_storage().data_ptr() for node in trace.nodes.values()}
        self._follow(known)
        lost = [name for name, made in self.made if made.untyped_storage().data_ptr() not in known]
        lost += [
            name
            for name, _, made in self.reordered
            if made.untyped_storage().data_ptr() not in known
        ]
        for storage, source in self.copied.items():
            origin = source.untyped_storage().data_ptr()
            if storage not in known and origin not in known and origin not in self.copied:
                lost.append(f"a copy of {[*source.shape]}")
        return lost

    def _follow(self, known: set[int]) -> None:
        """Known too: what known numbers were reordered to, and what only came to be in a node.

        The products of single experts are written one below the other, in the order of tokens.
        """
        for forward in (True, False):
            for _, sources, made in self.reordered if forward else reversed(self.reordered):
                of = {x.untyped_storage().data_ptr() for x in sources}
                of |= {
                    self.copied[at].untyped_storage().data_ptr() for at in of if at in self.copied
                }
                storage = made.untyped_storage().data_ptr()
                if forward and of & known and of - known <= self.copied.keys():
                    known.add(storage)
                elif (
                    not forward
                    and storage in known
                    and sum(x.numel() for x in sources) == made.numel()
                ):
                    known |= of


@pytest.mark.parametrize("with_targets", [False, True], ids=["probs", "loss"])
@pytest.mark.parametrize("name", EVERY)
def test_every_computed_number_belongs_to_a_step(name, with_targets):
    config = config_of(name)
    model = random_model(config, 3, torch.float32)
    ids = random_ids(config, 3)
    targets = random_targets(config, 3, ids) if with_targets else None
    more = random_inputs(config, 3, ids)
    with Watcher() as watcher:
        trace = model.watch(ids, targets, **more)
    assert len(watcher.made) >= len(trace.computed) // 2
    assert watcher.unexplained(trace) == []


def test_dropout_too_belongs_to_a_step():
    config = config_of("gpt2").replace(dropout=0.3)
    model = random_model(config, 3, torch.float32).train()
    with Watcher() as watcher:
        trace = model.watch(random_ids(config, 3))
    assert watcher.unexplained(trace) == []


def test_a_number_that_no_step_owns_is_found(monkeypatch):
    hidden = ops.Op(
        **{
            **{field: getattr(ops.add, field) for field in ops.Op.__dataclass_fields__},
            "kernel": lambda residual, branch: residual + (branch * 1.0),
        }
    )
    monkeypatch.setattr(ops, "add", hidden)
    config = config_of("no norms")
    model = random_model(config, 3, torch.float32)
    with Watcher() as watcher:
        trace = model.watch(random_ids(config, 3))
    assert set(watcher.unexplained(trace)) == {"aten.mul.Tensor"}


def test_an_operand_from_nowhere_is_refused(monkeypatch):
    monkeypatch.setattr("glassformer.model.mlp.MLP.forward", _mlp_off_the_tape)
    model = random_model(config_of("no norms"), 3)
    with pytest.raises(RuntimeError, match="'post' of op 'mlp_out' is the value of no node"):
        model.watch(torch.tensor([[1]]))


def _mlp_off_the_tape(self, x, t):
    post = ops.ACTIVATIONS[self.activation].kernel(ops.mlp_in.kernel(x, self.W_in, self.b_in))
    return t("mlp_out", ops.mlp_out, post, self.W_out, self.b_out)


def test_two_steps_of_one_name_are_refused():
    trace = random_model(config_of("gpt2"), 3).watch(torch.tensor([[1]]))
    with pytest.raises(RuntimeError, match="two nodes are named 'fwd/logits'"):
        trace.add(trace.node("logits"))
