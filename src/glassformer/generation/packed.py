"""A model's matrices laid out for generating: each is read once per token, as fast as memory goes.

A row times a matrix costs what reading the matrix costs. PyTorch's own product of a single row
reaches about half of the memory's speed with a matrix as it is stored; oneDNN's blocked layout
reaches nearly all of it, and narrower weights are less to read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor, nn

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.generation.c_step import CompiledStep, NotCompiledError
from glassformer.generation.cache import Cache
from glassformer.generation.layouts import Blocked, Int8, Product, Stored
from glassformer.kernels import choices
from glassformer.kernels.product import heads_of
from glassformer.kernels.threads import one_thread
from glassformer.model.adapter import Adapter, frozen
from glassformer.model.block import Block
from glassformer.model.config import Config
from glassformer.model.decoder import Decoder
from glassformer.model.encoder import Encoder
from glassformer.model.evaluating import evaluating
from glassformer.model.experts import Experts
from glassformer.ops.op import AnyOp
from glassformer.trace import SILENT

WEIGHTS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
}

Kernel = Callable[[Tensor], Any]
"""Takes what is multiplied, [..., in], to what the op of that name gives."""


class PackedModel:
    """A model and the kernels that take the place of its matrix products, by the values' names.

    What is not a product (embeddings, norms, attention, the residual stream) stays as it is. Where
    there is a `compiled` step, it continues single texts, and the kernels read prompts.
    """

    def __init__(
        self,
        model: Decoder,
        layout: Callable[[Tensor, Tensor | None], Product],
        compiled: CompiledStep | None = None,
    ) -> None:
        self.model = model
        self.compiled = compiled
        self.kernels: dict[str, Kernel] = dict(_kernels(model, layout))
        self.small: bool = is_small(model)
        # what a relative position is follows from how many tokens there are: no flat list has it
        self.is_flat = model.config.position != "relative"
        self._changes = Changes(model)

    @property
    def config(self) -> Config:
        """What its cache holds keys and values of."""
        return self.model.config

    def of_texts(self, _rows: Sequence[int]) -> PackedModel:
        """The same for some of the texts only: they have nothing of their own here."""
        return self

    def __reduce__(self) -> NoReturn:
        raise GlassformerError(
            "packed weights lie as the kernels of this process read them; copy or pickle the model"
            " itself, its `model`, and pack that again"
        )

    def __repr__(self) -> str:
        step = ", with a compiled step" if self.compiled else ""
        return f"<PackedModel{step}, of {self.model!r}>"

    def __call__(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [batch, pos, vocab] of ids [batch, pos]."""
        logits: Tensor = self.model(ids, _KernelTape(self.kernels), cache)
        return logits

    def last_logits(self, ids: Tensor, last: Tensor, cache: Cache | None) -> Tensor:
        """Logits [batch, 1, vocab] after the token at index `last` [batch] of each row."""
        tape = _KernelTape(self.kernels)
        x = self.model.residual(ids, tape, cache)
        logits: Tensor = self.model.unembed(x[torch.arange(len(x)), last][:, None], tape)
        return logits

    def check_fresh(self) -> None:
        """Raise if the model was trained, or changed otherwise, after its weights were packed."""
        self._changes.check_fresh()

    def check_still_fresh(self) -> None:
        """The same before every token of a text."""
        self._changes.check_still_fresh()


class Changes:
    """Whether a model's weights are those that they were when this was made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters = tuple(model.parameters())
        self._versions = _versions(self._parameters)
        self._changes = [changes for _, changes in self._versions]

    def check_fresh(self) -> None:
        """Raise if the model was trained, or changed otherwise, after its weights were packed."""
        if _versions(self._model.parameters()) != self._versions:
            raise GlassformerError(
                "the model's weights have changed since they were packed; pack it again"
            )

    def check_still_fresh(self) -> None:
        """The same before every token of a text, so it is to be quick: 4 us for four layers.

        What was written to is seen weight by weight, and a model that was moved by its first one;
        if only a part was moved, `check_fresh` says so when the next text begins.
        """
        moved = self._parameters[0].data_ptr() != self._versions[0][0]
        if moved or [p._version for p in self._parameters] != self._changes:
            raise GlassformerError(
                "the model's weights have changed while a text was coming; begin the text again"
            )


def unpacked(model: Decoder) -> PackedModel:
    """The model with its matrices as they are; nothing is copied."""
    return PackedModel(model, Stored)


def _compiled_step(model: Decoder) -> CompiledStep | None:
    """The step in C.

    Where the compiler is missing or fails, or an op has no loops, a warning says so, and texts
    come by the flat plan.
    """
    if model.config.n_ctx == 1 or model.config.position == "relative":
        return None  # no step after the first token's, or one whose table grows
    if model.config.turns_by_length:
        return None  # a step knows its own place, and not how long the text is
    try:
        return CompiledStep(model)
    except NotCompiledError as error:
        warnings.warn(f"generating without a compiled step: {error}", stacklevel=3)
        return None


def refuse_encoder(model: object) -> None:
    """Raise for a model that does not go on with a text."""
    if isinstance(model, Encoder):
        raise GlassformerError(
            "an encoder says what stands in a blank and does not go on with a text;"
            " `glassformer ask RUN 'the [MASK] sat'` asks it"
        )


def pack(model: Decoder, weights: str = "float32") -> PackedModel:
    """Copy the model's matrices into the layout that generates fastest, for `generate`.

    `weights`: "float32"; "bfloat16", half as much to read, with products in bfloat16; or "int8", a
    quarter, whole numbers from -127 to 127 times a scale for each output channel. The rest is
    computed as the model does. The copy takes as many bytes as it holds weights of that width; a
    model that is trained afterwards must be packed again.

    Experts stay as they are stored. For a model in float32 on the CPU, packed in float32, the
    decoding step of a single text is compiled from the model's formulas: half a second for a small
    one, the first time that this machine sees a model of its shape. A small model's matrices are
    then left where they are. The step runs on one thread. Where `kernels.choices` says so, a large
    model stays as it is stored: one core then reads its weights more slowly than the library on all
    of them.

    >>> from glassformer.model import Config
    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
    >>> pack(model, "int8")(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """
    refuse_encoder(model)
    if weights not in WEIGHTS:
        raise GlassformerError(
            f"weights={weights!r} is none of {', '.join(WEIGHTS)}.{did_you_mean(weights, WEIGHTS)}"
        )
    device, dtype = model.embed.W_E.device.type, model.embed.W_E.dtype
    if weights == "int8" and device != "cpu":
        raise GlassformerError(
            f"int8 weights are multiplied on the CPU only, and this model is on {device}; pack it"
            " as bfloat16, or move it with model.cpu()"
        )
    if weights == "int8":
        return PackedModel(model, Int8)
    as_it_is = WEIGHTS[weights] == dtype == torch.float32 and device == "cpu"
    if as_it_is and not choices.LARGE_FP32_IS_PACKED.value and not is_small(model):
        return unpacked(model)
    step = _compiled_step(model) if as_it_is else None
    if as_it_is and is_small(model):
        return PackedModel(model, Stored, step)
    return PackedModel(model, lambda W, b: Blocked(W, b, WEIGHTS[weights]), step)


class _Part(NamedTuple):
    """A matrix product of the model: the value it gives, and how the op arranges that."""

    name: str
    W: Tensor  # [in, out]
    b: Tensor | None
    arrange: Callable[[Product], Kernel] = lambda product: product


def _parts(model: Decoder) -> Iterator[_Part]:
    for layer, block in enumerate(cast(Iterable[Block], model.blocks)):
        attn, mlp = block.attn, block.mlp

        def heads(product: Product, counts: dict[str, int] = attn.heads) -> Kernel:
            return lambda x: heads_of(product(x), **counts)

        def merged(product: Product) -> Kernel:
            return lambda z: product(z.flatten(-2))

        q = _before("q", attn.lora_Q)
        yield _Part(f"blocks.{layer}.attn.{q}", attn.W_QKV, attn.b_QKV, heads)
        joined = _before("attn_out", attn.lora_O)
        yield _Part(f"blocks.{layer}.attn.{joined}", attn.W_O, attn.b_O, merged)
        if isinstance(mlp, Experts):  # whose matrices are read where they lie
            yield _Part(f"blocks.{layer}.mlp.router_scores", mlp.W_router, mlp.b_router)
            continue
        if mlp.W_gate is not None:
            gate = _before("pre", mlp.lora_gate)
            yield _Part(f"blocks.{layer}.mlp.{gate}", mlp.W_gate, mlp.b_gate)
        up = _before("pre" if mlp.W_gate is None else "pre_linear", mlp.lora_in)
        yield _Part(f"blocks.{layer}.mlp.{up}", mlp.W_in, mlp.b_in)
        down = _before("mlp_out", mlp.lora_out)
        yield _Part(f"blocks.{layer}.mlp.{down}", mlp.W_out, mlp.b_out)
    unembed = model.unembed
    name = "logits_raw" if model.config.logit_cap else "logits"
    yield _Part(name, unembed.weight(SILENT), unembed.b_U)


def _before(name: str, adapter: Adapter | None) -> str:
    """What the product of a matrix is called: an adapter may add to it."""
    return name if adapter is None else frozen(name)


def _kernels(
    model: Decoder, layout: Callable[[Tensor, Tensor | None], Product]
) -> Iterator[tuple[str, Kernel]]:
    with torch.inference_mode():
        for part in _parts(model):
            yield part.name, part.arrange(layout(part.W, part.b))


class _KernelTape:
    """Computes silently, with a model's packed kernels."""

    def __init__(self, kernels: dict[str, Kernel], scope: str = "") -> None:
        self._kernels, self._scope = kernels, scope

    def at(self, scope: str, /) -> _KernelTape:
        return _KernelTape(self._kernels, f"{self._scope}{scope}.")

    def along(self, _axes: Mapping[str, str], /) -> _KernelTape:
        return self

    def __call__(self, name: Any, op: AnyOp, /, *operands: Any, **params: Any) -> Any:
        first = name if isinstance(name, str) else name[0]
        kernel = self._kernels.get(f"{self._scope}{first}")
        return op.kernel(*operands, **params) if kernel is None else kernel(operands[0])


def is_small(model: nn.Module) -> bool:
    """Whether one core gets through its weights before a second one is up."""
    return sum(parameter.nbytes for parameter in model.parameters()) <= SMALL


def _versions(parameters: Iterable[Tensor]) -> list[tuple[int, int]]:
    return [(p.data_ptr(), p._version) for p in parameters]


SMALL = 32 << 20
"""Bytes of a model that one core gets through before a second one is up and running."""


@contextmanager
def generating(packed: Any) -> Iterator[None]:
    """No dropout inside, whatever the model is doing outside, and one thread for a small model."""
    with one_thread(packed.small), evaluating(packed.model):
        yield
