"""One training step, watched whole: forward, loss, backward, clipping, AdamW, on a copy.

Every weight NAME gets the addresses ``opt/NAME.g``, ``.m``, ``.v``, ``.decayed``, ``.denominator``,
``.change`` and ``opt/NAME``, the new weight; ``opt/grad_norm``, ``opt/clip``, ``opt/bias_1`` and
``opt/bias_2`` belong to all. The kernels are AdamW's own, in its own order: the new weights are bit
for bit those of `torch.optim.AdamW(foreach=False, fused=False)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.model import Transformer
from glassformer.ops import optimizer as ops
from glassformer.ops.formula import Binary, Formula, Node, Read, Unary
from glassformer.ops.op import Op
from glassformer.trace import Recorder, Trace
from glassformer.training.optimizer import EPS, MOMENTS
from glassformer.training.recipe import Recipe

Moments = Mapping[str, Tensor]
"""``exp_avg.NAME`` and ``exp_avg_sq.NAME`` for every stored parameter."""


@dataclass(frozen=True)
class WatchedStep:
    """The trace of a training step, and what it led to: the changed model and optimizer state."""

    trace: Trace
    model: Transformer
    moments: dict[str, Tensor]


def zero_moments(model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state before the first step."""
    return {
        f"{moment}.{name}": torch.zeros_like(parameter)
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
    }


def watch_step(
    model: Transformer,
    moments: Moments,
    ids: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    lr: float,
    t: int,
) -> WatchedStep:
    """Watch update number `t` (the first is 1) at learning rate `lr`; nothing given is changed.

    ids, targets [batch, pos]; `recipe` gives betas, weight decay and the clipping norm.
    """
    trace = model.watch(ids, targets, backward=True)
    gradients = trace.parameter_gradients
    step = _Step(trace, model, recipe, lr, t)
    clip = step.clip(gradients)
    after: dict[str, Tensor] = {}
    quantities: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        numbers = step.update(name, parameter, gradients[name] * clip, moments)
        after[f"exp_avg.{name}"], after[f"exp_avg_sq.{name}"] = numbers["m"], numbers["v"]
        for quantity, value in numbers.items():
            quantities.setdefault(quantity, {})[name] = value
    step.record(quantities)
    changed = deepcopy(model)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            parameter.copy_(quantities["new"][name])
    return WatchedStep(trace, changed, after)


class _Step:
    """The numbers of one update and the steps that explain them."""

    def __init__(self, trace: Trace, model: Transformer, recipe: Recipe, lr: float, t: int) -> None:
        self.trace, self.model, self.recipe, self.lr, self.t = trace, model, recipe, lr, t
        self.tape = Recorder(trace, kind="opt")
        self.bias_1 = self.tape("bias_1", ops.first_correction, beta1=recipe.beta1, t=t)
        self.bias_2 = self.tape("bias_2", ops.second_correction, beta2=recipe.beta2, t=t)

    def clip(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Record the gradient's norm and the clipping factor; return the factor."""
        total: Node | None = None
        sources: dict[str, str] = {}
        for i, view in enumerate(self.model.views()):
            gradient = self.trace[f"bwd/{view.name}"]
            path = self._record(
                f"{view.name}.sum_sq",
                ops.sum_of_squares,
                (gradient * gradient).sum(),
                view.axes,
                {"d_w": f"bwd/{view.name}"},
            )
            sources[f"sum_sq_{i}"] = path
            term = Read(f"sum_sq_{i}", ())
            total = term if total is None else Binary("+", total, term)
        assert total is not None, "a model has weights"
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        formula = Formula("grad_norm", (), Unary("sqrt", total))
        self.tape.record("opt/grad_norm", "gradient_norm", formula, sources, {}, norm)
        limit = self.recipe.clip or float("inf")
        return self.tape("clip", ops.clip_factor, norm, max_norm=limit)

    def update(
        self, name: str, parameter: nn.Parameter, g: Tensor, moments: Moments
    ) -> dict[str, Tensor]:
        """AdamW for one stored parameter, in PyTorch's order of operations."""
        recipe, w = self.recipe, parameter.detach()
        m_prev, v_prev = moments[f"exp_avg.{name}"], moments[f"exp_avg_sq.{name}"]
        m = ops.first_moment.kernel(m_prev, g, beta1=recipe.beta1)
        v = ops.second_moment.kernel(v_prev, g, beta2=recipe.beta2)
        decayed = ops.decayed_weight.kernel(w, lr=self.lr, weight_decay=self._decay(w))
        denominator = ops.update_scale.kernel(v, self.bias_2, eps=EPS)
        new = ops.updated_weight.kernel(decayed, m, denominator, self.bias_1, lr=self.lr)
        return {
            "m_prev": m_prev,
            "v_prev": v_prev,
            "g": g,
            "m": m,
            "v": v,
            "decayed": decayed,
            "denominator": denominator,
            "new": new,
            "change": ops.weight_change.kernel(new, w),
        }

    def record(self, quantities: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Name every weight's numbers as views of the stored ones."""
        stored = {id(p): name for name, p in self.model.named_parameters()}
        views = {
            quantity: {
                view.name: view.value
                for view in self.model.views(lambda p, of=values: of[stored[id(p)]])
            }
            for quantity, values in quantities.items()
        }
        owner = {p.untyped_storage().data_ptr(): p for p in self.model.parameters()}
        for view in self.model.views():
            parameter = owner[view.value.untyped_storage().data_ptr()]
            values = {quantity: named[view.name] for quantity, named in views.items()}
            self._record_weight(view.name, view.axes, values, self._decay(parameter))

    def _decay(self, parameter: Tensor) -> float:
        return self.recipe.weight_decay if parameter.ndim >= 2 else 0.0

    def _record_weight(
        self, name: str, axes: tuple[str, ...], values: Mapping[str, Tensor], decay: float
    ) -> None:
        own = {q: f"opt/{name}.{q}" for q in values} | {"new": f"opt/{name}"}
        for before in ("m_prev", "v_prev"):
            own[before] = f"const/{name}.{before}"
            self.tape.leaf("const", f"{name}.{before}", values[before], axes)
        sources = {
            **own,
            "w": f"weight/{name}",
            "d_w": f"bwd/{name}",
            "clip": "opt/clip",
            "bias_1": "opt/bias_1",
            "bias_2": "opt/bias_2",
        }
        for quantity, op in _OPS.items():
            tail = "" if quantity == "new" else f".{quantity}"
            self._record(f"{name}{tail}", op, values[quantity], axes, sources, decay)

    def _record(
        self,
        name: str,
        op: Op,
        value: Tensor,
        axes: tuple[str, ...],
        sources: Mapping[str, str],
        decay: float = 0.0,
    ) -> str:
        path = f"opt/{name}"
        params = {
            "beta1": self.recipe.beta1,
            "beta2": self.recipe.beta2,
            "lr": self.lr,
            "eps": EPS,
            "weight_decay": decay,
        }
        formula = ops.over(op.outputs[0], axes)
        self.tape.record(path, op.name, formula, sources, params, value)
        return path


_OPS = {
    "g": ops.clipped_gradient,
    "m": ops.first_moment,
    "v": ops.second_moment,
    "decayed": ops.decayed_weight,
    "denominator": ops.update_scale,
    "new": ops.updated_weight,
    "change": ops.weight_change,
}
