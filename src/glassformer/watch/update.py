"""One update, recorded: clipping and the optimizer, from gradients to changed weights.

Every weight NAME gets the addresses ``opt/NAME.g``, ``.m``, ``.v``, ``.decayed``, ``.denominator``,
``.change`` and ``opt/NAME``, the new weight; ``opt/grad_norm``, ``opt/clip``, ``opt/bias_1`` and
``opt/bias_2`` belong to all. The kernels are AdamW's own, in its own order: the new weights are bit
for bit those of `torch.optim.AdamW(foreach=False, fused=False)`.

A weight that Muon changes has ``.g``, ``.m``, ``.ahead``, ``.step_length``, ``.step_0``, then
``.step_gram_I``, ``.step_poly_I`` and ``.step_I`` of each iteration I (the last is ``.step``),
``.decayed``, ``.change`` and ``opt/NAME``. Training orthogonalizes all matrices of a shape in one
stack, here it is one after the other; their products may round differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.formula.nodes import Binary, Read, Unary
from glassformer.formula.nodes import Node as Tree
from glassformer.formula.template import over
from glassformer.formula.tree import Formula
from glassformer.kernels.newton_schulz import work_dtype
from glassformer.ops import muon
from glassformer.ops import optimizer as ops
from glassformer.ops.op import AnyOp, Op
from glassformer.trace import Recorder, Trace
from glassformer.watch.view import View, as_matrix, in_shape, is_matrix, learned
from glassformer.watch.watchable import Watchable

ByName = Mapping[str, Tensor]
"""A tensor for each stored parameter, by its name."""


@dataclass(frozen=True)
class Rule:
    """The numbers of one update: AdamW's, and Muon's for the weights that it changes.

    `clip`: the norm that gradients are clipped to; infinite: never. `t`: the update's number, from
    1. `muon`: the stored parameters that Muon changes; `scales`: what multiplies the learning rate
    of each weight among them; `products`: the recipe's dtype, which Muon's products have too.
    """

    t: int
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    clip: float
    muon_lr: float
    momentum: float
    muon: frozenset[str] = frozenset()
    scales: Mapping[str, float] = field(default_factory=dict)
    products: str = "fp32"


def record_update(
    trace: Trace, model: Watchable, rule: Rule, m_prev: ByName, v_prev: ByName
) -> dict[str, dict[str, Tensor]]:
    """Record the update that follows from a watched backward pass; the model is not changed.

    `m_prev`, `v_prev`: the optimizer's averages before it (Muon has no `v_prev`). Returns the
    numbers of each stored parameter, by quantity: ``m``, ``v`` and others.
    """
    gradients = trace.parameter_gradients
    update = _Update(trace, model, rule)
    clip = update.clip(gradients)
    quantities: dict[str, dict[str, Tensor]] = {}
    for name, parameter in learned(model).items():
        numbers = update.numbers(
            name, parameter, gradients[name] * clip, m_prev[name], v_prev.get(name)
        )
        for quantity, value in numbers.items():
            quantities.setdefault(quantity, {})[name] = value
    update.record(quantities)
    return quantities


def record_descent(trace: Trace, model: Watchable, lr: float) -> None:
    """Record one step of plain gradient descent after a watched backward pass.

    Every weight NAME gets ``opt/NAME``, the new weight, and ``opt/NAME.change``: the bits of
    `torch.optim.SGD(lr=lr)`.
    """
    tape = Recorder(trace, kind="opt")
    for view in model.learned_views():
        name, w = view.name, view.value.detach()
        new = ops.descended_weight.kernel(w, trace[f"bwd/{name}"], lr=lr)
        sources = {"w": f"weight/{name}", "d_w": f"bwd/{name}", "new": f"opt/{name}"}
        for path, op, value, params in (
            (f"opt/{name}", ops.descended_weight, new, {"lr": lr}),
            (f"opt/{name}.change", ops.weight_change, ops.weight_change.kernel(new, w), {}),
        ):
            tape.record(path, op.name, over(op.outputs[0], view.axes), sources, params, value)


class _Update:
    """The numbers of one update and the nodes that explain them."""

    def __init__(self, trace: Trace, model: Watchable, rule: Rule) -> None:
        self.trace, self.model, self.rule = trace, model, rule
        self.tape = Recorder(trace, kind="opt")
        self.bias_1 = self.tape("bias_1", ops.first_correction, beta1=rule.beta1, t=rule.t)
        self.bias_2 = self.tape("bias_2", ops.second_correction, beta2=rule.beta2, t=rule.t)

    def clip(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Record the gradient's norm and the clipping factor; return the factor."""
        terms: list[Tree] = []
        sources: dict[str, str] = {}
        for i, view in enumerate(self.model.learned_views()):
            gradient = self.trace[f"bwd/{view.name}"]
            path = self.record_op(
                f"{view.name}.sum_sq",
                ops.sum_of_squares,
                (gradient * gradient).sum(),
                view.axes,
                {"d_w": f"bwd/{view.name}"},
                {},
            )
            sources[f"sum_sq_{i}"] = path
            terms.append(Read(f"sum_sq_{i}", ()))
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        formula = Formula("grad_norm", (), Unary("sqrt", _sum(terms)))
        self.tape.record("opt/grad_norm", "gradient_norm", formula, sources, {}, norm)
        return self.tape("clip", ops.clip_factor, norm, max_norm=self.rule.clip)

    def numbers(
        self, name: str, parameter: nn.Parameter, g: Tensor, m_prev: Tensor, v_prev: Tensor | None
    ) -> dict[str, Tensor]:
        """What happens to every element of one stored parameter, in PyTorch's order."""
        rule, w = self.rule, parameter.detach()
        if name in rule.muon:
            m = ops.first_moment.kernel(m_prev, g, beta1=rule.momentum)
            ahead = muon.look_ahead.kernel(g, m, momentum=rule.momentum)
            decayed = ops.decayed_weight.kernel(w, lr=rule.muon_lr, weight_decay=rule.weight_decay)
            return {"m_prev": m_prev, "g": g, "m": m, "ahead": ahead, "decayed": decayed}
        assert v_prev is not None, "AdamW averages the squares, too"
        m = ops.first_moment.kernel(m_prev, g, beta1=rule.beta1)
        v = ops.second_moment.kernel(v_prev, g, beta2=rule.beta2)
        decayed = ops.decayed_weight.kernel(w, lr=rule.lr, weight_decay=self._decay(name, w))
        denominator = ops.update_scale.kernel(v, self.bias_2, eps=rule.eps)
        new = ops.updated_weight.kernel(decayed, m, denominator, self.bias_1, lr=rule.lr)
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
                for view in self.model.views(lambda p, of=values: of.get(stored[id(p)], p))
            }
            for quantity, values in quantities.items()
        }
        owner = {p.untyped_storage().data_ptr(): p for p in self.model.parameters()}
        for view in self.model.learned_views():
            parameter = owner[view.value.untyped_storage().data_ptr()]
            kept = [q for q, values in quantities.items() if stored[id(parameter)] in values]
            values = {quantity: views[quantity][view.name] for quantity in kept}
            if stored[id(parameter)] in self.rule.muon:
                self._record_matrix(view, values)
            else:
                self._record_weight(
                    view.name, view.axes, values, self._decay(stored[id(parameter)], parameter)
                )

    def _decay(self, name: str, parameter: Tensor) -> float:
        return self.rule.weight_decay if is_matrix(name, parameter) else 0.0

    def _record_weight(
        self, name: str, axes: tuple[str, ...], values: Mapping[str, Tensor], decay: float
    ) -> None:
        sources = self._sources(name, axes, values)
        for quantity, op in _OPS.items():
            tail = "" if quantity == "new" else f".{quantity}"
            self.record_op(
                f"{name}{tail}", op, values[quantity], axes, sources, self._params(decay)
            )

    def _record_matrix(self, view: View, values: Mapping[str, Tensor]) -> None:
        """What Muon does to one weight: element by element, then as a matrix."""
        name, axes = view.name, view.axes
        sources = self._sources(name, axes, values)
        rule, lr, scale = self.rule, self.rule.muon_lr, self.rule.scales[view.name]
        params = {"beta1": rule.momentum, "momentum": rule.momentum, "lr": lr}
        params |= {"weight_decay": rule.weight_decay, "scale": scale}
        for quantity, op in _MUON_OPS.items():
            self.record_op(f"{name}.{quantity}", op, values[quantity], axes, sources, params)
        ahead, decayed = (as_matrix(values[q], axes) for q in ("ahead", "decayed"))
        known = {id(ahead): sources["ahead"], id(decayed): sources["decayed"]}
        tape = _MatrixTape(self, view, known)
        dtype = work_dtype(ahead, rule.products)
        orthogonal = muon.orthogonalize.steps(tape, f"{name}.step", ahead, dtype)
        new = tape(name, muon.orthogonal_update, decayed, orthogonal, lr=lr, scale=scale)
        paths = {"new": f"opt/{name}", "w": f"weight/{name}"}
        new = in_shape(new, view)
        change = ops.weight_change.kernel(new, view.value.detach())
        self.record_op(f"{name}.change", ops.weight_change, change, axes, paths, {})

    def _sources(
        self, name: str, axes: tuple[str, ...], values: Mapping[str, Tensor]
    ) -> dict[str, str]:
        """Where the operands of a weight's update are; those from before the step as constants."""
        paths = {q: f"opt/{name}.{q}" for q in values} | {"new": f"opt/{name}"}
        for before in ("m_prev", "v_prev"):
            if before in values:
                paths[before] = f"const/{name}.{before}"
                self.tape.leaf("const", f"{name}.{before}", values[before], axes)
        return {
            **paths,
            "w": f"weight/{name}",
            "d_w": f"bwd/{name}",
            "clip": "opt/clip",
            "bias_1": "opt/bias_1",
            "bias_2": "opt/bias_2",
        }

    def _params(self, decay: float) -> dict[str, float]:
        rule = self.rule
        betas = {"beta1": rule.beta1, "beta2": rule.beta2}
        return {**betas, "lr": rule.lr, "eps": rule.eps, "weight_decay": decay}

    def record_op(
        self,
        name: str,
        op: Op[..., Tensor],
        value: Tensor,
        axes: tuple[str, ...],
        sources: Mapping[str, str],
        params: Mapping[str, float],
    ) -> str:
        path = f"opt/{name}"
        formula = over(op.outputs[0], axes)
        self.tape.record(path, op.name, formula, sources, params, value, op.role)
        return path


TOGETHER = 100
"""Terms that are added one after another; of more the sums are, so that the tree stays shallow."""


def _sum(terms: list[Tree]) -> Tree:
    """The sum of terms, as a tree that is read and written by recursion."""
    if len(terms) > TOGETHER:
        parts = range(0, len(terms), TOGETHER)
        return _sum([_sum(terms[i : i + TOGETHER]) for i in parts])
    return reduce(lambda total, term: Binary("+", total, term), terms)


class _MatrixTape:
    """Records what is done to a weight as a matrix [d_model, rest] under the weight's own axes."""

    def __init__(self, update: _Update, view: View, known: dict[int, str]) -> None:
        self._update, self._view = update, view
        self._paths = known
        self._kept: list[Tensor] = []  # an id is good as long as its tensor lives

    def __call__(self, name: Any, op: AnyOp, /, *operands: Any, **params: Any) -> Any:
        assert isinstance(op, Op), "only elementary ops have a formula to record"
        value = op.kernel(*operands, **params)
        paths = (self._paths[id(operand)] for operand in operands)
        sources = dict(zip(op.operands, paths, strict=True))
        as_rows = "rest" in op.outputs[0].axes
        shaped = in_shape(value, self._view) if as_rows else value
        self._paths[id(value)] = self._update.record_op(
            name, op, shaped, self._view.axes, sources, params
        )
        self._kept.append(value)
        return value

    def at(self, _scope: str, /) -> _MatrixTape:
        return self

    def along(self, _axes: Mapping[str, str], /) -> _MatrixTape:
        return self


_OPS: Mapping[str, Op[..., Tensor]] = {
    "g": ops.clipped_gradient,
    "m": ops.first_moment,
    "v": ops.second_moment,
    "decayed": ops.decayed_weight,
    "denominator": ops.update_scale,
    "new": ops.updated_weight,
    "change": ops.weight_change,
}
"""AdamW's quantities, in their order, and the ops that make them."""

_MUON_OPS: Mapping[str, Op[..., Tensor]] = {
    "g": ops.clipped_gradient,
    "m": ops.first_moment,
    "ahead": muon.look_ahead,
    "decayed": ops.decayed_weight,
}
"""Muon's quantities that are made element by element."""
