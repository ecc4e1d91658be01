"""Experiments: a text read twice, as it is and with something changed, and what that did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.lab.changes import (
    Change,
    Shift,
    changes,
    next_token_shifts,
    surprise_at_the_end,
    watch_text,
    word_of,
)
from glassformer.lab.edits import (
    Edit,
    patched,
    switched_off,
    without_crossing,
    without_expert,
    without_head,
    without_layer,
    without_neuron,
)
from glassformer.lab.lost_words import LostWord, words_between
from glassformer.model import EncoderDecoder
from glassformer.model.kinds import AnyModel
from glassformer.model.texts import Texts, known_tokenizer
from glassformer.trace import Trace
from glassformer.training.train_state import token_of
from glassformer.watch.edits import NewValue


@dataclass(frozen=True, repr=False)
class Comparison:
    """A text read twice: `before`, as it is, and `after` the `edit` (address to new value).

    Both traces end in `probs`, and in `loss` over the text's own next tokens where it has any.
    """

    model: AnyModel
    before: Trace
    after: Trace
    edit: Edit

    def next_tokens(self, n: int = 10) -> list[Shift]:
        """The n most probable next tokens of either pass, the largest changes first."""
        return next_token_shifts(self.before, self.after, n)

    def written_words(self, looking: tuple[int, int] | None = None) -> list[LostWord]:
        """What becomes of each word that two towers write: its probability before and after.

        looking: a layer and a head of cross-attention; the words then say where in the source it
        looks.

        Errors: a model of one tower.
        """
        if not isinstance(self.model, EncoderDecoder):
            raise GlassformerError("one tower writes no translation; see next_tokens and changes")
        targets = self.before.value_of(self.before.node("token/targets"))[0]
        return words_between(self.before, self.after, targets, looking)

    def changes(self) -> list[Change]:
        """Every value of the pass that is no longer the same, in the order of the pass."""
        return changes(self.before, self.after)

    def surprise(self, token: str | int) -> tuple[float, float]:
        """-ln p of a token as the next one, in nats, before and after."""
        targets = (
            token
            if isinstance(token, int)
            else token_of(known_tokenizer(self.model.tokenizer), token)
        )
        before, after = (surprise_at_the_end(t, targets) for t in (self.before, self.after))
        return before, after

    @property
    def loss(self) -> tuple[float, float] | None:
        """Mean surprise over the text's own next tokens, in nats, before and after.

        Of two towers, over the words of their translation. None for a text of one token, which has
        no next one.
        """
        if "fwd/loss" not in self.before.nodes:
            return None
        return self.before["fwd/loss"].item(), self.after["fwd/loss"].item()

    def __repr__(self) -> str:
        if isinstance(self.model, EncoderDecoder):
            most: LostWord | Shift = max(
                self.written_words(), key=lambda word: abs(word.after - word.before)
            )
        else:
            most = self.next_tokens(1)[0]
        moved = f"p({word_of(self.before, most.token)!r}) {most.before:.3g} -> {most.after:.3g}"
        changed = f"{len(self.changes())} of {len(self.before.computed)} values changed"
        return f"<Comparison of {counted(len(self.edit), 'edit')}: {moved}, {changed}>"


def edit(model: AnyModel, text: Texts, edits: Mapping[str, NewValue]) -> Comparison:
    """Read a text with values or weights set to something else. What follows?

    edits: address to what it shall be: one number, a tensor of the address's shape, or a function
    of the value that is there. An address names a value (``blocks.0.attn.pattern[head=1]``) or a
    weight (``weight/unembed.b_U[vocab=4]``), whole or a part of it. No gradient flows through one.

    Errors: an unknown address, with the nearest known one; a new value of another shape.

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> louder = edit(model, "the cat sat on", {"blocks.0.mlp.post": lambda post: 2 * post})
    >>> [round(nats, 4) for nats in louder.surprise("mat")]
    [1.8313, 1.8491]
    """
    changed = dict(edits)
    if not changed:
        raise GlassformerError("nothing is changed; give edits, as {'blocks.0.attn.z': 0.0}")
    return Comparison(model, watch_text(model, text), watch_text(model, text, changed), changed)


def ablate(
    model: AnyModel,
    text: Texts,
    addresses: str | Iterable[str] = (),
    *,
    heads: Iterable[tuple[int, int]] = (),
    neurons: Iterable[tuple[int, int]] = (),
    experts: Iterable[tuple[int, int]] = (),
    layers: Iterable[int] = (),
    cross: Iterable[tuple[int, int]] = (),
) -> Comparison:
    """Read a text with parts switched off: their numbers become zero. What follows?

    heads, neurons, experts: pairs of layer and number, both from 0. layers: whole blocks, attention
    and MLP. addresses: any other values of the forward pass, whole or in part. Of two towers the
    text is the source, and these are parts of the decoder; `cross` are heads of its
    cross-attention, and parts of the encoder have addresses.

    Errors: nothing to switch off; a part that the model does not have.

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> without = ablate(model, "the cat sat on", heads=[(0, 0)])
    >>> without.edit
    {'fwd/blocks.0.attn.z[head=0]': 0.0}
    >>> most = without.next_tokens()[0]
    >>> most.word, round(most.before, 3), round(most.after, 3)
    ('cat', 0.206, 0.217)
    """
    off: Edit = {}
    if isinstance(model, EncoderDecoder):
        config, scope = model.config.decoder, "decoder."
    else:
        config, scope = model.config, ""
    for layer, head in heads:
        off |= without_head(config, layer, head, scope)
    for layer, neuron in neurons:
        off |= without_neuron(config, layer, neuron, scope)
    for layer, expert in experts:
        off |= without_expert(config, layer, expert)
    for layer in layers:
        off |= without_layer(config, layer, scope)
    for layer, head in cross:
        if not scope:
            raise GlassformerError("cross-attention needs two towers; this model has heads=")
        off |= without_crossing(config, layer, head)
    off |= switched_off([addresses] if isinstance(addresses, str) else addresses)
    if not off:
        raise GlassformerError(
            "nothing is switched off; say what: heads=[(0, 2)], neurons=[(1, 37)], layers=[1], or"
            " an address"
        )
    return edit(model, text, off)


def patch(
    model: AnyModel, text: Texts, addresses: str | Iterable[str], *, source: Texts | Trace
) -> Comparison:
    """Read a text with values of another one put in (activation patching). What follows?

    addresses: values of the forward pass, whole or in part, taken from `source`: another text, or a
    trace of one. Where a value has an axis of positions both texts need as many tokens.

    Source: Vig et al. 2020, "Investigating Gender Bias in Language Models Using Causal Mediation
    Analysis"; Meng et al. 2022, "Locating and Editing Factual Associations in GPT".

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> patched = patch(model, "the cat sat", "blocks.0.resid_post[pos=1]", source="the mat sat")
    >>> patched.changes()[0].path
    'fwd/blocks.0.resid_post'
    """
    listed = [addresses] if isinstance(addresses, str) else [*addresses]
    trace = source if isinstance(source, Trace) else watch_text(model, source)
    return edit(model, text, patched(listed, trace))
