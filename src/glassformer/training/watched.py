"""One training step, watched whole: forward, loss, backward, clipping, the optimizer, on a copy.

Every weight NAME gets the addresses ``opt/NAME.g``, ``.m``, ``.v``, ``.decayed``, ``.denominator``,
``.change`` and ``opt/NAME``, the new weight; ``opt/grad_norm``, ``opt/clip``, ``opt/bias_1`` and
``opt/bias_2`` belong to all. The kernels are AdamW's own, in its own order: the new weights are bit
for bit those of `torch.optim.AdamW(foreach=False, fused=False)`.

A weight that Muon changes has ``.g``, ``.m``, ``.ahead``, ``.step_length``, ``.step_0``, then
``.step_gram_I``, ``.step_poly_I`` and ``.step_I`` of each iteration I (the last is ``.step``),
``.decayed``, ``.change`` and ``opt/NAME``. Training orthogonalises all matrices of a shape in one
stack, here it is one after the other; their bfloat16 products may round differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.errors import GlassformerError
from glassformer.formula.nodes import Binary, Node, Read, Unary
from glassformer.formula.tree import Formula
from glassformer.model import Decoder
from glassformer.model.ids import Ids, as_ids
from glassformer.model.texts import Texts, ids_of, next_tokens
from glassformer.model.views import View
from glassformer.ops import muon
from glassformer.ops import optimizer as ops
from glassformer.ops.op import Composite, Op
from glassformer.trace import Recorder, Trace
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.training.muon import as_matrix, matrices, muon_parameters, work_dtype
from glassformer.training.optimizer import EPS, MOMENTS, muon_lr
from glassformer.training.recipe import Recipe

Moments = Mapping[str, Tensor]
"""``exp_avg.NAME``, and for AdamW ``exp_avg_sq.NAME``, of every stored parameter."""


@dataclass(frozen=True, repr=False)
class WatchedStep:
    """The trace of a training step, and what it led to: the changed model and optimizer state."""

    trace: Trace
    model: Decoder
    moments: dict[str, Tensor]

    def __repr__(self) -> str:
        loss = self.trace["fwd/loss"].item()
        return (
            f"<WatchedStep: loss {loss:.4g} before the update, {len(self.trace.computed):,} values>"
        )


def zero_moments(model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state before the first step."""
    return {
        f"{moment}.{name}": torch.zeros_like(parameter)
        for name, parameter in model.named_parameters()
        for moment in MOMENTS.values()
    }


def watch_step(
    model: Decoder,
    text: Texts,
    targets: Ids | None = None,
    *,
    recipe: Recipe | None = None,
    moments: Moments | None = None,
    lr: float | None = None,
    t: int = 1,
    is_cancelled: CancelCheck = never_cancelled,
) -> WatchedStep:
    """Watch one update of all weights, with everything that leads to it; nothing given is changed.

    text, `is_cancelled`: as for `Decoder.watch`. targets [batch, pos]: what is asked after each
    token; None: the text's own next tokens. recipe: optimizer, betas, weight decay and clipping
    norm (None: those of ``Recipe()``); lr: the learning rate (None: the recipe's). moments: the
    optimizer's state before the step (None: new), `t` the step's number, from 1.

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> first = watch_step(model, "the cat sat on", lr=0.01)
    >>> second = watch_step(
    ...     first.model, "the cat sat on", moments=first.moments, lr=0.01, t=2
    ... )
    >>> first.trace["loss"].item() > second.trace["loss"].item()
    True
    >>> first.trace.explain("opt/unembed.W_U[d_model=0,vocab=1]").agrees
    True
    """
    recipe = recipe or Recipe()
    lr = recipe.lr if lr is None else lr
    moments = zero_moments(model) if moments is None else moments
    if targets is None:
        ids = as_ids(ids_of(text, model.tokenizer))
        if ids.shape[1] == 1:
            raise GlassformerError(
                "one token has no next one to learn from; give a longer text, or targets"
            )
        text, targets = ids, next_tokens(ids)
    trace = model.watch(text, targets, backward=True, is_cancelled=is_cancelled)
    gradients = trace.parameter_gradients
    step = _Step(trace, model, recipe, lr, t)
    clip = step.clip(gradients)
    after: dict[str, Tensor] = {}
    quantities: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        numbers = step.update(name, parameter, gradients[name] * clip, moments)
        after |= {f"{MOMENTS[q]}.{name}": numbers[q] for q in MOMENTS if q in numbers}
        for quantity, value in numbers.items():
            quantities.setdefault(quantity, {})[name] = value
    step.record(quantities)
    changed = deepcopy(model)
    with torch.no_grad():
        for view in changed.views():
            view.value.copy_(trace.value_of(trace.node(f"opt/{view.name}")))
    return WatchedStep(trace, changed, after)


class _Step:
    """The numbers of one update and the steps that explain them."""

    def __init__(self, trace: Trace, model: Decoder, recipe: Recipe, lr: float, t: int) -> None:
        self.trace, self.model, self.recipe, self.lr, self.t = trace, model, recipe, lr, t
        self.muons = muon_parameters(model, recipe)
        self.tape = Recorder(trace, kind="opt")
        self.bias_1 = self.tape("bias_1", ops.first_correction, beta1=recipe.beta1, t=t)
        self.bias_2 = self.tape("bias_2", ops.second_correction, beta2=recipe.beta2, t=t)

    def clip(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Record the gradient's norm and the clipping factor; return the factor."""
        total: Node | None = None
        sources: dict[str, str] = {}
        for i, view in enumerate(self.model.views()):
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
        """What happens to every element of one stored parameter, in PyTorch's order."""
        recipe, w, m_prev = self.recipe, parameter.detach(), moments[f"exp_avg.{name}"]
        if name in self.muons:
            m = ops.first_moment.kernel(m_prev, g, beta1=recipe.momentum)
            ahead = muon.look_ahead.kernel(g, m, momentum=recipe.momentum)
            lr = muon_lr(recipe, self.lr)
            decayed = ops.decayed_weight.kernel(w, lr=lr, weight_decay=recipe.weight_decay)
            return {"m_prev": m_prev, "g": g, "m": m, "ahead": ahead, "decayed": decayed}
        v_prev = moments[f"exp_avg_sq.{name}"]
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
                for view in self.model.views(lambda p, of=values: of.get(stored[id(p)], p))
            }
            for quantity, values in quantities.items()
        }
        owner = {p.untyped_storage().data_ptr(): p for p in self.model.parameters()}
        scales = {matrix.name: matrix.scale for matrix in matrices(self.model)}
        for view in self.model.views():
            parameter = owner[view.value.untyped_storage().data_ptr()]
            own = [q for q, values in quantities.items() if stored[id(parameter)] in values]
            values = {quantity: views[quantity][view.name] for quantity in own}
            if stored[id(parameter)] in self.muons:
                self._record_matrix(view, values, scales[view.name])
            else:
                self._record_weight(view.name, view.axes, values, self._decay(parameter))

    def _decay(self, parameter: Tensor) -> float:
        return self.recipe.weight_decay if parameter.ndim >= 2 else 0.0

    def _record_weight(
        self, name: str, axes: tuple[str, ...], values: Mapping[str, Tensor], decay: float
    ) -> None:
        sources = self._sources(name, axes, values)
        for quantity, op in _OPS.items():
            tail = "" if quantity == "new" else f".{quantity}"
            self.record_op(
                f"{name}{tail}", op, values[quantity], axes, sources, self._params(decay)
            )

    def _record_matrix(self, view: View, values: Mapping[str, Tensor], scale: float) -> None:
        """Muon's steps for one weight: element by element, then as a matrix."""
        name, axes = view.name, view.axes
        sources = self._sources(name, axes, values)
        lr = muon_lr(self.recipe, self.lr)
        params = {"beta1": self.recipe.momentum, "momentum": self.recipe.momentum, "lr": lr}
        params |= {"weight_decay": self.recipe.weight_decay, "scale": scale}
        for quantity, op in _MUON_OPS.items():
            self.record_op(f"{name}.{quantity}", op, values[quantity], axes, sources, params)
        ahead, decayed = (as_matrix(values[q], axes) for q in ("ahead", "decayed"))
        known = {id(ahead): sources["ahead"], id(decayed): sources["decayed"]}
        tape = _MatrixTape(self, view, known)
        turned = muon.orthogonalize.steps(tape, f"{name}.step", ahead, work_dtype(ahead))
        new = tape(name, muon.orthogonal_update, decayed, turned, lr=lr, scale=scale)
        own = {"new": f"opt/{name}", "w": f"weight/{name}"}
        new = in_shape(new, view)
        change = ops.weight_change.kernel(new, view.value.detach())
        self.record_op(f"{name}.change", ops.weight_change, change, axes, own, {})

    def _sources(
        self, name: str, axes: tuple[str, ...], values: Mapping[str, Tensor]
    ) -> dict[str, str]:
        """Where the operands of a weight's update are; those from before the step as constants."""
        own = {q: f"opt/{name}.{q}" for q in values} | {"new": f"opt/{name}"}
        for before in ("m_prev", "v_prev"):
            if before in values:
                own[before] = f"const/{name}.{before}"
                self.tape.leaf("const", f"{name}.{before}", values[before], axes)
        return {
            **own,
            "w": f"weight/{name}",
            "d_w": f"bwd/{name}",
            "clip": "opt/clip",
            "bias_1": "opt/bias_1",
            "bias_2": "opt/bias_2",
        }

    def _params(self, decay: float) -> dict[str, float]:
        recipe = self.recipe
        betas = {"beta1": recipe.beta1, "beta2": recipe.beta2}
        return {**betas, "lr": self.lr, "eps": EPS, "weight_decay": decay}

    def record_op(
        self,
        name: str,
        op: Op,
        value: Tensor,
        axes: tuple[str, ...],
        sources: Mapping[str, str],
        params: Mapping[str, float],
    ) -> str:
        path = f"opt/{name}"
        formula = ops.over(op.outputs[0], axes)
        self.tape.record(path, op.name, formula, sources, params, value)
        return path


class _MatrixTape:
    """Records what is done to a weight as a matrix [d_model, rest] under the weight's own axes."""

    def __init__(self, step: _Step, view: View, known: dict[int, str]) -> None:
        self._step, self._view = step, view
        self._paths = known
        self._kept: list[Tensor] = []  # an id is good as long as its tensor lives

    def __call__(self, name: Any, op: Op | Composite, /, *operands: Any, **params: Any) -> Any:
        assert isinstance(op, Op), "only elementary ops have a formula to record"
        value = op.kernel(*operands, **params)
        paths = (self._paths[id(operand)] for operand in operands)
        sources = dict(zip(op.operands, paths, strict=True))
        whole = "rest" in op.outputs[0].axes
        shaped = in_shape(value, self._view) if whole else value
        self._paths[id(value)] = self._step.record_op(
            name, op, shaped, self._view.axes, sources, params
        )
        self._kept.append(value)
        return value

    def at(self, _scope: str, /) -> _MatrixTape:
        return self


def in_shape(matrix: Tensor, view: View) -> Tensor:
    """A matrix [d_model, rest] in the shape of the weight that it stands for."""
    place = view.axes.index("d_model")
    rest = [n for axis, n in zip(view.axes, view.value.shape, strict=True) if axis != "d_model"]
    return matrix.unflatten(1, rest).movedim(0, place)


_OPS = {
    "g": ops.clipped_gradient,
    "m": ops.first_moment,
    "v": ops.second_moment,
    "decayed": ops.decayed_weight,
    "denominator": ops.update_scale,
    "new": ops.updated_weight,
    "change": ops.weight_change,
}
"""AdamW's quantities, in their order, and the ops that make them."""

_MUON_OPS = {
    "g": ops.clipped_gradient,
    "m": ops.first_moment,
    "ahead": muon.look_ahead,
    "decayed": ops.decayed_weight,
}
"""Muon's quantities that are made element by element."""
