"""The decoder: tokens in, a score for every possible next token out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.describe import counted
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model.attention import KeyValueCache
from glassformer.model.block import Block
from glassformer.model.config import Config
from glassformer.model.embed import Embed, PosEmbed
from glassformer.model.ids import Ids, as_ids, refuse_outside
from glassformer.model.norm import Norm
from glassformer.model.rotary import Rotary, Rotation
from glassformer.model.said import Said
from glassformer.model.size import parameter_count, refuse_larger_than_memory
from glassformer.model.texts import Texts, ids_of, labels
from glassformer.ops import Tape
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import SILENT, Recorder, Trace
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.watch.edits import Edits
from glassformer.watch.one_pass import BUDGET_BYTES, watch
from glassformer.watch.view import Source, View, itself
from glassformer.watch.watchable import Watchable


class Unembed(nn.Module):
    """W_U [d_model, vocab], the transposed embedding table when tied, and a bias b_U [vocab]."""

    def __init__(self, config: Config, embed: Embed) -> None:
        super().__init__()
        # a tuple hides the module: the table's parameter stays listed once, under embed
        self._embed = (embed,)
        tied, width = config.tied, (config.d_model, config.vocab_size)
        self.W_U = None if tied else nn.Parameter(torch.empty(width))
        self.b_U = nn.Parameter(torch.empty(config.vocab_size)) if config.head_bias else None

    def weight(self, t: Tape) -> Tensor:
        """W_U [d_model, vocab], whoever owns it."""
        return t("W_U", ops.tie, self._embed[0].W_E) if self.W_U is None else self.W_U

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        if self.W_U is not None:
            yield View(f"{scope}W_U", source(self.W_U), ("d_model", "vocab"))
        if self.b_U is not None:
            yield View(f"{scope}b_U", source(self.b_U), ("vocab",))


class Decoder(Watchable):
    """A decoder-only transformer.

    `tokenizer`, where it is known (`gf.load` sets it), turns texts into its ids and gives its
    traces words.

    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3))
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        """New weights; `generator` draws them, PyTorch's own if there is none."""
        super().__init__()
        if torch.get_default_device().type != "meta":
            refuse_larger_than_memory(config, 4, "the weights")
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.said = Said()
        """What the folder it was loaded from says beside these: end tokens, how to generate."""
        self.embed = Embed(config)
        added = config.position in ("learned", "sinusoidal")
        self.pos_embed = PosEmbed(config) if added else None
        self.ln_embed = Norm(config.norms, config.d_model) if config.embed_norm else None
        turns = [config.rotary(layer) for layer in range(config.n_layers)]
        self.rotary = nn.ModuleDict({turn.name: Rotary(turn) for turn in turns if turn is not None})
        self._turns = [None if turn is None else turn.name for turn in turns]
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.ln_final = Norm(config.norms, config.d_model) if config.final_norm else None
        self.unembed = Unembed(config, self.embed)
        self.init_weights(generator)

    @classmethod
    def unfilled(
        cls,
        config: Config,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> Decoder:
        """A model whose weights are about to be loaded: nothing is drawn for them."""
        refuse_larger_than_memory(config, dtype.itemsize, "the weights")
        with torch.device("meta"):
            model = cls(config).to(dtype)
        return model.to_empty(device=device)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Normal weights, zero biases, unit gains; what is added to the stream starts smaller.

        Sources: Radford et al. 2019, section 2.3: residual projections are scaled by
        1/sqrt(2 n_layers); Zhang et al. 2019 (Fixup), section 3: they start at zero.
        """
        if self.embed.W_E.is_meta:
            return  # shapes only: there is nothing to fill, and drawing nothing is slow
        std = self.config.init_std
        residual_std = std / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            last = name.rpartition(".")[2]
            if last == "w":
                nn.init.constant_(parameter, 0.0 if self.config.norm_gain_from_one else 1.0)
                continue
            into_stream = last in ("W_O", "W_out")
            if last.startswith("b") or (self.config.zero_init and (into_stream or last == "W_U")):
                nn.init.zeros_(parameter)
            else:
                deviation = residual_std if into_stream else std
                nn.init.normal_(parameter, std=deviation, generator=generator)

    def forward(
        self,
        ids: Ids,
        tape: Tape = SILENT,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the next token at every position."""
        return self.logits_of(self._ids(ids), tape, cache)

    def logits_of(
        self, ids: Tensor, t: Tape, cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """`forward` for ids that were checked."""
        return self.unembedded(self.residual(ids, t, cache), t)

    def unembedded(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the final vectors."""
        return self.unembedded_with(x, self.unembed.weight(t.at("unembed")), self.unembed.b_U, t)

    def unembedded_with(
        self, x: Float[Tensor, "batch pos d_model"], W_U: Tensor, b_U: Tensor | None, t: Tape
    ) -> Float[Tensor, "batch pos vocab"]:
        """The same with another unembedding than the model's own."""
        x, cap = self._scaled(x, t), self.config.logit_cap
        if not cap:
            return t("logits", ops.unembed, x, W_U, b_U)
        return t("logits", ops.cap_logits, t("logits_raw", ops.unembed, x, W_U, b_U), cap=cap)

    def _scaled(self, x: Tensor, t: Tape) -> Tensor:
        factor = self.config.logit_scale
        return x if factor == 1 else t("final_scaled", ops.scale_final, x, factor=factor)

    def loss(
        self,
        ids: Ids,
        targets: Ids,
        tape: Tape = SILENT,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`."""
        ids = self._ids(ids)
        return self.loss_of(ids, self._targets(targets, ids.shape), tape)

    def loss_of(self, ids: Tensor, targets: Tensor, t: Tape) -> Float[Tensor, ""]:
        """`loss` for ids and targets that were checked."""
        x, W_U = self._scaled(self.residual(ids, t), t), self.unembed.weight(t.at("unembed"))
        cap = self.config.logit_cap
        return t("loss", ops.unembed_cross_entropy, x, W_U, self.unembed.b_U, targets, cap=cap)

    def residual(
        self, ids: Int[Tensor, "batch pos"], t: Tape, cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after the last block and the final norm."""
        n = ids.shape[1]
        start = cache.length if cache is not None else 0
        if start + n > self.config.n_ctx:
            raise GlassformerError(
                f"{start + n} tokens do not fit the model's n_ctx={self.config.n_ctx} positions;"
                " shorten the text"
            )
        mask = cache.mask(n) if cache is not None else None
        x = self.embed(ids, t)
        rotations: dict[str, Rotation] = {}
        if self.pos_embed is not None or self.rotary:
            if cache is not None:
                position = cache.positions(n, ids.device)
            else:
                position = torch.arange(n, device=ids.device)
            if isinstance(t, Recorder):
                t.leaf("const", "position", position, ("pos",))
            if self.pos_embed is not None:
                x = t("resid_start", ops.add_positions, x, self.pos_embed(position, t))
            for name, rotary in self.rotary.items():
                rotations[name] = rotary(position, t.at("local") if name == "local" else t)
        if self.ln_embed is not None:
            x = self.ln_embed(x, t.at("ln_embed"))
        if self.draws():
            x = t(("embed_dropped", "embed_kept"), ops.dropout, x, p=self.config.dropout)[0]
        for layer, (block, turn) in enumerate(zip(self.blocks, self._turns, strict=True)):
            rotation = None if turn is None else rotations[turn]
            x = block(x, t.at(f"blocks.{layer}"), cache, mask, rotation)
        if cache is not None:
            cache.advance(n)
        return self.ln_final(x, t.at("ln_final")) if self.ln_final is not None else x

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
        `is_cancelled` is asked at every value, and recording ends once it is true.

        Errors: texts of different lengths; ids outside the vocabulary, or of another shape.

        >>> config = Config(vocab_size=3, n_ctx=8, d_model=6, n_layers=2, n_heads=3)
        >>> model = Decoder(config, torch.Generator().manual_seed(0))
        >>> model.tokenizer = Tokenizer.from_words(["the", "cat", "sat"])
        >>> trace = model.watch("the cat", edit={"blocks.0.attn.z": lambda z: 2 * z})
        >>> trace["probs"].shape, trace.labels["pos"]
        (torch.Size([2, 3]), ['the', 'cat'])
        """
        ids = self._ids(ids_of(text, self.tokenizer))
        if targets is not None:
            targets = self._targets(targets, ids.shape)
            if not targets.is_meta and bool((targets == ops.IGNORED).all()):
                raise GlassformerError("every target is ignored: give at least one to be asked for")
        trace = watch(self, ids, targets, keep, backward, edit or {}, budget_bytes, is_cancelled)
        if self.tokenizer is not None and not ids.is_meta:
            trace.labels = labels(self.tokenizer, ids)
        return trace

    def draws(self) -> bool:
        return bool(self.training and self.config.dropout)

    def on_meta(self) -> Decoder:
        with torch.device("meta"):
            return type(self)(self.config).to(self.embed.W_E.dtype).train(self.training)

    def __repr__(self) -> str:
        c = self.config
        size = (
            f"{counted(c.n_layers, 'layer')} of {counted(c.n_heads, 'head')}, d_model {c.d_model:,}"
        )
        reads = f"vocabulary {c.vocab_size:,}, context {c.n_ctx:,}"
        n = counted(parameter_count(c), "parameter")
        dtype = str(self.embed.W_E.dtype).removeprefix("torch.")
        return f"<Decoder: {size}, {reads}; {n}, {dtype} on {self.embed.W_E.device}>"

    def _ids(self, ids: Ids) -> Tensor:
        """Ids as [batch, pos], each with a row in the table; on an accelerator nobody waits."""
        return as_ids(ids, self.config.vocab_size if _is_read(ids) else None)

    def _targets(self, targets: Ids, shape: torch.Size) -> Tensor:
        """Targets as [batch, pos], as many as ids; outside the vocabulary is `ops.IGNORED` only."""
        read = _is_read(targets)
        targets = as_ids(targets, what="targets")
        if targets.shape != shape:
            raise GlassformerError(
                f"targets {[*targets.shape]} must have the shape of ids, {[*shape]}: one next"
                " token for each"
            )
        if read:
            refuse_outside(targets.masked_fill(targets == ops.IGNORED, 0), self.config.vocab_size)
        return targets

    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its TransformerLens name, as views of what `source` gives."""
        yield from self.embed.views(source, "embed.")
        if self.pos_embed is not None:
            yield from self.pos_embed.views(source, "pos_embed.")
        if self.ln_embed is not None:
            yield from self.ln_embed.views(source, "ln_embed.")
        for layer, block in enumerate(self.blocks):
            yield from cast("Block", block).views(source, f"blocks.{layer}.")
        if self.ln_final is not None:
            yield from self.ln_final.views(source, "ln_final.")
        yield from self.unembed.views(source, "unembed.")

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


def _is_read(ids: Ids) -> bool:
    """Whether the ids' own numbers can be looked at without waiting for a device."""
    plain = not isinstance(ids, Tensor) or (type(ids) is Tensor and ids.device.type == "cpu")
    return plain and not torch.compiler.is_compiling()


def _as_tensor(name: str, value: Tensor | list[Any]) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
    except (TypeError, ValueError) as error:
        raise GlassformerError(
            f"{name} is not a table of numbers; give rows of equal length"
        ) from error
