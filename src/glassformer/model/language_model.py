"""What any model of texts can do beside its forward pass: be watched, filled, read and printed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import TypeVar

from glassformer import ops
from glassformer.describe import counted
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model.config import Config
from glassformer.model.folder_settings import FolderSettings
from glassformer.model.ids import Ids, read_ids, read_targets
from glassformer.model.size import parameter_count, refuse_larger_than_memory
from glassformer.model.texts import Texts, ids_of, labels
from glassformer.model.towers_config import TowersConfig
from glassformer.model.unembed import Unembed
from glassformer.ops import Tape
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.watch.edits import Edits
from glassformer.watch.one_pass import BUDGET_BYTES, watch
from glassformer.watch.watchable import NO_EXTRA_INPUTS, ExtraInputs, Watchable

C = TypeVar("C", bound=Config | TowersConfig, default=Config)
Model = TypeVar("Model", bound="LanguageModel[Any]")


class LanguageModel(Watchable, Generic[C]):
    """A model of texts.

    `tokenizer`, where it is known (`gf.load` sets it), turns texts into its ids and gives its
    traces words.
    """

    unembed: Unembed

    def __init__(self, config: C) -> None:
        super().__init__()
        if torch.get_default_device().type != "meta":
            refuse_larger_than_memory(config, 4, "the weights")
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.folder_settings = FolderSettings()
        """What the folder it was loaded from says beside these: end tokens, how to generate."""

    @abstractmethod
    def final(self, ids: Tensor, t: Tape, extra: ExtraInputs) -> Float[Tensor, "batch pos d_model"]:
        """The vectors that the unembedding reads."""

    def logits_of(
        self, ids: Tensor, t: Tape, extra: ExtraInputs = NO_EXTRA_INPUTS
    ) -> Float[Tensor, "batch pos vocab"]:
        """The forward pass of ids, and what is given beside them, that were checked."""
        logits: Tensor = self.unembed(self.final(ids, t, extra), t)
        return logits

    def loss_of(
        self, ids: Tensor, targets: Tensor, t: Tape, extra: ExtraInputs = NO_EXTRA_INPUTS
    ) -> Float[Tensor, ""]:
        """The loss of ids and targets, and what is given beside them, that were checked."""
        return self.unembed.loss(self.final(ids, t, extra), targets, t)

    @classmethod
    def unfilled(
        cls: type[Model],
        config: Any,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> Model:
        """A model whose weights are about to be loaded: nothing is drawn for them."""
        refuse_larger_than_memory(config, dtype.itemsize, "the weights")
        with torch.device("meta"):
            model = cls(config).to(dtype)
        # as Module.to_empty, whose empty_like imports sympy first
        return model._apply(lambda w: torch.empty(w.shape, dtype=w.dtype, device=device))

    def watch(
        self,
        text: Texts,
        targets: Ids | None = None,
        *,
        keep: str | Iterable[str] = "*",
        backward: bool = False,
        edit: Edits | None = None,
        budget_bytes: int = BUDGET_BYTES,
        is_cancelled: CancelCheck = never_cancelled,
        **more: Any,
    ) -> Trace:
        """Run once, eagerly, and record every value on the way under its name.

        `text` is a text, or texts of as many tokens each, or their ids, [pos] or [batch, pos], as a
        tensor or lists; texts need a model that knows its tokenizer, which also gives the trace
        words. Of one text the axis `batch` has length 1 and may be left out of addresses.
        Without targets the trace ends in `logits` and `probs`; with targets also in `loss`. `keep`
        selects the values to hold on to, for example ``"*.resid_*,logits"``. `backward` adds the
        gradient of the loss for every value and weight, under ``bwd/``. `edit` changes values or
        weights by address before whatever follows, to a number, a tensor of that shape, or what a
        function makes of the value: ``{"blocks.0.attn.pattern[head=2]": 0.0}``.
        A trace whose values would take more than `budget_bytes` is refused with its size.
        `is_cancelled` is asked at every value, and recording ends once it is true. `more` is what a
        model reads beside ids, as its `forward` names it: an encoder's `seen` and `types`, an
        encoder-decoder's `source`.

        Errors: texts of different lengths; ids outside the vocabulary, or of another shape.

        >>> from glassformer.model.decoder import Decoder
        >>> config = Config(vocab_size=3, n_ctx=8, d_model=6, n_layers=2, n_heads=3)
        >>> model = Decoder(config, torch.Generator().manual_seed(0))
        >>> model.tokenizer = Tokenizer.from_words(["the", "cat", "sat"])
        >>> trace = model.watch("the cat", edit={"blocks.0.attn.z": lambda z: 2 * z})
        >>> trace["probs"].shape, trace.labels["pos"]
        (torch.Size([2, 3]), ['the', 'cat'])
        """
        ids = read_ids(ids_of(text, self.tokenizer), self.config.vocab_size)
        if targets is not None:
            targets = read_targets(targets, ids.shape, self.config.vocab_size)
            if not targets.is_meta and bool((targets == ops.IGNORED).all()):
                raise GlassformerError("every target is ignored: give at least one to be asked for")
        extra = self.read_extra_inputs(ids, **more)
        trace = watch(
            self, ids, targets, keep, backward, edit or {}, budget_bytes, is_cancelled, extra
        )
        trace.refuse_unknown_keeps()
        if self.tokenizer is not None and not ids.is_meta:
            trace.labels = self.labels(ids, extra)
        return trace

    def labels(self, ids: Tensor, extra: ExtraInputs) -> dict[str, Sequence[str]]:
        """Words for a trace of these ids, of a model that knows its tokenizer."""
        del extra
        assert self.tokenizer is not None, "asked of a model that knows its tokenizer"
        return labels(self.tokenizer, ids)

    def read_extra_inputs(self, ids: Tensor) -> ExtraInputs:
        """What a pass reads beside checked ids, checked too; a model says what it takes."""
        del ids
        return NO_EXTRA_INPUTS

    def draws(self) -> bool:
        return bool(self.training and self.config.dropout)

    def on_meta(self: Model) -> Model:
        with torch.device("meta"):
            return type(self)(self.config).to(self._filled.dtype).train(self.training)

    @property
    def dtype(self) -> torch.dtype:
        """Of all weights."""
        return self._filled.dtype

    @property
    def _filled(self) -> Tensor:
        """Any weight: all have one dtype and one device."""
        return next(self.parameters())

    def __repr__(self) -> str:
        c, weight = self.config, self._filled
        reads = f"vocabulary {c.vocab_size:,}, context {c.n_ctx:,}"
        n = counted(parameter_count(c), "parameter")
        dtype = str(weight.dtype).removeprefix("torch.")
        return f"<{type(self).__name__}: {c.in_words}, {reads}; {n}, {dtype} on {weight.device}>"

    def weights(self) -> dict[str, Tensor]:
        """Name to weight, views of the stored parameters."""
        return {view.name: view.value for view in self.views()}

    def load_views(self, values: Mapping[str, Tensor | list[Any]]) -> None:
        """Copy numbers into every weight by name; all must be there, each in its own shape."""
        weights = self.weights()
        for name in values:
            if name not in weights:
                raise GlassformerError(
                    f"this model has no weight {name!r}.{did_you_mean(name, weights)}"
                )
        missing = [name for name in weights if name not in values]
        if missing:
            raise GlassformerError(f"weights are missing: {', '.join(missing)}; give them all")
        tensors = {name: _as_tensor(name, value) for name, value in values.items()}
        for name, tensor in tensors.items():
            if tensor.shape != weights[name].shape:
                raise GlassformerError(
                    f"{name} has shape {[*tensor.shape]}; this model's is {[*weights[name].shape]}"
                )
        with torch.no_grad():
            for name, tensor in tensors.items():
                weights[name].copy_(tensor)


def _as_tensor(name: str, value: Tensor | list[Any]) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
    except (TypeError, ValueError) as error:
        raise GlassformerError(
            f"{name} is not a table of numbers; give rows of equal length"
        ) from error
