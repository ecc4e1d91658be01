"""The lab on two towers: a source translated twice, as it is and changed; which word is lost?"""

from __future__ import annotations

import re

import torch

from glassformer.cli.lab.comparing import number_pair
from glassformer.cli.lab.subject import Subject
from glassformer.cli.streams import say_json
from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.lab.edits import (
    Edit,
    without_crossing,
    without_head,
    without_layer,
    without_neuron,
)
from glassformer.lab.lost_words import LostWord, lost_words
from glassformer.model import TowersConfig
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import per_cent
from glassformer.show.table import Cell, Column, comparisons, print_table
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.translation import translated

Looking = tuple[int, int]
_TOWER = re.compile(r"(encoder|decoder)\.(.*)")


def switched_off(
    config: TowersConfig,
    heads: list[str],
    neurons: list[str],
    layers: list[int],
    cross: list[str],
) -> tuple[Edit, list[str], Looking | None]:
    """The edits, their names, and the head of cross-attention if it is one alone.

    heads, neurons: "0.1" of the decoder or "encoder.0.1"; layers: of the decoder.
    """
    edit: Edit = {}
    off: list[str] = []
    looking: Looking | None = None
    for text in heads:
        tower, at = _tower(text)
        layer, head = number_pair(at, "--head", "LAYER.HEAD or encoder.LAYER.HEAD")
        edit |= without_head(getattr(config, tower), layer, head, f"{tower}.")
        off.append(f"{tower} layer {layer} head {head}")
    for text in neurons:
        tower, at = _tower(text)
        layer, neuron = number_pair(at, "--neuron", "LAYER.NEURON or encoder.LAYER.NEURON")
        edit |= without_neuron(getattr(config, tower), layer, neuron, f"{tower}.")
        off.append(f"{tower} layer {layer} neuron {neuron}")
    for layer in layers:
        edit |= without_layer(config.decoder, layer, "decoder.")
        off.append(f"decoder layer {layer}")
    for text in cross:
        looking = number_pair(text, "--cross", "LAYER.HEAD")
        edit |= without_crossing(config.decoder, *looking)
        off.append(f"layer {looking[0]} head {looking[1]} of cross-attention")
    return edit, off, looking if len(off) == 1 else None


def _tower(text: str) -> tuple[str, str]:
    """The tower and what is asked of it.

    >>> _tower("encoder.0.1"), _tower("0.1")
    (('encoder', '0.1'), ('decoder', '0.1'))
    """
    match = _TOWER.fullmatch(text)
    return (match[1], match[2]) if match else ("decoder", text)


def compare_written(
    subject: Subject,
    text: str,
    edit: Edit,
    summary: str,
    as_json: bool,
    target: str | None = None,
    looking: Looking | None = None,
) -> None:
    """Say of every written word what becomes of its probability; `summary`: what was changed."""
    if target is not None:
        raise GlassformerError(
            "--target is for one tower; of two, what becomes of every written word is shown"
        )
    model, tokenizer = subject.model, subject.tokenizer
    ids, targets, source = translated(model, tokenizer, text)
    words = lost_words(model, ids, targets, source, edit, looking)
    read = [tokenizer.shown(token) for token in source[0].tolist()]
    if as_json:
        return say_json(
            {
                "source": read,
                "edits": [*edit],
                "written": [
                    {
                        **{k: v for k, v in word._asdict().items() if v is not None},
                        "token": tokenizer.shown(word.token),
                        "instead": tokenizer.shown(word.instead),
                    }
                    for word in words
                ],
            }
        )
    sheet = Sheet()
    sheet.prose(summary, "bold")
    for address, value in edit.items():
        if isinstance(value, torch.Tensor):
            what = f"{counted(value.numel(), 'number')} of the other text"
        else:
            what = f"{value:g}"
        sheet.prose(f"{address} -> {what}", QUIET, 2, 2)
    sheet.prose(f"It reads: {' '.join(read)}")
    sheet.line()
    _print_words(sheet, tokenizer, read, words)
    sheet.line()
    sheet.prose(_lost(tokenizer, read, words))
    return None


def _lost(tokenizer: Tokenizer, read: list[str], words: list[LostWord]) -> str:
    """The word that is missed most, in a sentence."""
    lost = min(words, key=lambda word: word.after - word.before)
    if lost.after >= lost.before / 2:
        return "No word is lost: none falls to half of its probability."
    name = tokenizer.shown(lost.token)
    said = f"Lost: {name}, from {per_cent(lost.before)} to {per_cent(lost.after)}."
    if lost.source_pos is not None and lost.weight is not None:
        return (
            f"{said} There the head looks at {read[lost.source_pos]} with"
            f" {per_cent(lost.weight)} of its attention."
        )
    if lost.instead != lost.token:
        return f"{said} The most probable word is {tokenizer.shown(lost.instead)} now."
    return said


def _print_words(
    sheet: Sheet, tokenizer: Tokenizer, read: list[str], words: list[LostWord]
) -> None:
    changes = comparisons([word.before for word in words], [word.after for word in words])
    looks = any(word.source_pos is not None for word in words)
    rows: list[list[Cell]] = []
    for word, change in zip(words, changes, strict=True):
        looked = []
        if word.source_pos is not None and word.weight is not None:
            looked = [f"{read[word.source_pos]} {per_cent(word.weight)}"]
        instead = tokenizer.shown(word.instead) if word.instead != word.token else ""
        rows.append([tokenizer.shown(word.token), *looked, *change, instead])
    titles = ("written", *(["the head looks at"] * looks), "before", "after", "difference")
    right = ("before", "after", "difference")
    columns = [Column(title, right=title in right) for title in (*titles, "instead")]
    print_table(sheet, columns, rows)
