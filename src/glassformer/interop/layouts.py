"""How a family stores our parameters: under which name, and in which arrangement.

Ours are [in, out]. Queries, keys and values lie side by side in one matrix W_QKV; here each is a
part of its own, W_Q, W_K and W_V, with all its heads side by side: [d_model, head * d_head].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model import Config, TowersConfig
from glassformer.model.kinds import kind_of

Shape = tuple[int, ...]
_EXPERTS = re.compile(r"blocks\.(\d+)\.mlp\.[Wb]_(?:gate|in|out)")


class Layout(NamedTuple):
    """A tensor of theirs from parts of ours, and back: `read(tensor, shapes of the parts)`."""

    write: Callable[[list[Tensor]], Tensor]
    read: Callable[[Tensor, list[Shape]], Sequence[Tensor]]

    def shape(self, shapes: list[Shape]) -> Shape:
        """The shape of their tensor; nothing is allocated."""
        return tuple(self.write([torch.empty(shape, device="meta") for shape in shapes]).shape)


class Stored(NamedTuple):
    """A tensor of a folder: its name, and which parts of ours it holds in which layout."""

    name: str
    parts: tuple[str, ...]
    layout: Layout


def _split(tensor: Tensor, shapes: list[Shape]) -> Sequence[Tensor]:
    """What lies side by side along the last axis."""
    return torch.split(tensor, [shape[-1] for shape in shapes], -1)


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.mT if tensor.ndim == 2 else tensor


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


AS_OURS = Layout(_concatenate, _split)
"""[in, out], parts side by side."""

OUT_BY_IN = Layout(
    lambda parts: _transposed(_concatenate(parts)),
    lambda tensor, shapes: _split(_transposed(tensor), shapes),
)
"""[out, in], as torch's Linear stores it, parts one below the other."""


def rows_in_front(n: int) -> Layout:
    """A table whose first n rows are never read: zeros where we write them."""
    return Layout(
        lambda parts: torch.cat([torch.zeros_like(parts[0][:1]).expand(n, -1), parts[0]]),
        lambda tensor, _: [tensor[n:]],
    )


ONE_ROW = Layout(lambda parts: parts[0][None], lambda tensor, _: [tensor[0]])
"""A vector as a matrix of one row."""

TAKING_TURNS = Layout(
    lambda parts: torch.stack(parts, -1).flatten(-2),
    lambda tensor, _: torch.unflatten(tensor, -1, (-1, 2)).unbind(-1),
)
"""[expert, in, out] of two parts, one column of the one, one of the other."""

ONE_NUMBER = Layout(lambda parts: parts[0].reshape(1), lambda tensor, _: [tensor.reshape(())])
"""A number, [], as a row of one."""


def always(number: float) -> Layout:
    """A tensor [] that holds one number in every model, rounded or not, and nothing of ours."""
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    rounded = {torch.tensor(number, dtype=dtype).item() for dtype in dtypes}

    def check(tensor: Tensor, _: list[Shape]) -> Sequence[Tensor]:
        if tensor.item() not in rounded:
            raise GlassformerError(
                f"it holds {tensor.item():.9g}, and Glassformer computes with {number:.9g} there"
            )
        return []

    return Layout(lambda _: torch.tensor(number, dtype=torch.float64), check)


FLAT = Layout(
    lambda parts: parts[0].flatten(),
    lambda tensor, shapes: [torch.unflatten(tensor, 0, shapes[0])],
)
"""A gain of all heads, [head * d_head]."""


def by_head(config: Config) -> Layout:
    """[out, in], for each head of keys and values its queries, its key and its value."""
    groups, d_head = config.n_kv_heads, config.d_head

    def write(parts: list[Tensor]) -> Tensor:
        each = [torch.unflatten(part, -1, (groups, -1, d_head)) for part in parts]
        return _transposed(torch.cat(each, -2).flatten(-3))

    def read(tensor: Tensor, shapes: list[Shape]) -> Sequence[Tensor]:
        each = torch.unflatten(_transposed(tensor), -1, (groups, -1, d_head))
        counts = [shape[-1] // (groups * d_head) for shape in shapes]
        return [part.flatten(-3) for part in torch.split(each, counts, -2)]

    return Layout(write, read)


def reordered(order: Callable[[Config], list[int]]) -> Callable[[Config], Layout]:
    """[out, in], the dimensions of each head in another order: theirs are ours at `order`."""

    def layout(config: Config) -> Layout:
        theirs = order(config)
        ours = [theirs.index(i) for i in range(len(theirs))]

        def reorder(tensor: Tensor, where: list[int]) -> Tensor:
            return torch.unflatten(tensor, 0, (-1, len(where)))[:, where].flatten(0, 1)

        return Layout(
            lambda parts: reorder(_transposed(parts[0]), theirs),
            lambda tensor, _: [_transposed(reorder(tensor, ours))],
        )

    return layout


def of_expert(part: str, expert: int) -> str:
    """The name of one expert's share of a parameter.

    >>> of_expert("blocks.0.mlp.W_in", 3)
    'blocks.0.mlp.experts.3.W_in'
    """
    scope, _, last = part.rpartition(".")
    return f"{scope}.experts.{expert}.{last}"


def of_all_experts(part: str) -> str:
    """The parameter that one expert's share is of.

    >>> of_all_experts("blocks.0.mlp.experts.3.W_in")
    'blocks.0.mlp.W_in'
    """
    return re.sub(r"\.experts\.\d+\.", ".", part)


def tower_of(config: Config | TowersConfig, name: str) -> tuple[Config, str]:
    """The configuration that a parameter of ours is of, and its name there."""
    if isinstance(config, Config):
        return config, name
    tower, _, rest = name.partition(".")
    if tower == "encoder":
        return config.encoder, rest
    return config.decoder, rest if tower == "decoder" else name


def parts_of(parameters: Mapping[str, Tensor], config: Config | TowersConfig) -> dict[str, Tensor]:
    """Every parameter, and queries, keys, values and experts of their own: views, no copies."""
    parts = dict(parameters)
    for name, parameter in parameters.items():
        tower, local_name = tower_of(config, name)
        if name.endswith(("_QKV", "_KV")):
            stem, _, letters = name.rpartition("_")
            columns = torch.split(parameter, [*tower.attention(0).widths[-len(letters) :]], -1)
            parts |= {f"{stem}_{x}": column for x, column in zip(letters, columns, strict=True)}
        elif (owner := _EXPERTS.fullmatch(local_name)) and tower.has_experts(int(owner[1])):
            parts |= {of_expert(name, i): part for i, part in enumerate(parameter)}
    return parts


def is_apart(name: str, parts: Container[str]) -> bool:
    """Whether a parameter is among the parts as its pieces, too: fused, or of all experts."""
    return name.endswith(("_QKV", "_KV")) or of_expert(name, 0) in parts


def shapes_of(config: Config | TowersConfig) -> dict[str, Shape]:
    """The shape of every part of a configuration's model; nothing is allocated."""
    with torch.device("meta"):
        parameters = dict(kind_of(config)(config).named_parameters())
    return {name: tuple(part.shape) for name, part in parts_of(parameters, config).items()}
