"""glassformer lab ablate --cross: a head that looks at the source, switched off."""

from __future__ import annotations

from glassformer.cli.lab.comparing import number_pair
from glassformer.cli.streams import say_json
from glassformer.errors import GlassformerError
from glassformer.lab.lost_words import LostWord, lost_words
from glassformer.model import EncoderDecoder
from glassformer.show.sheet import Sheet
from glassformer.show.surprise import per_cent
from glassformer.show.table import Cell, Column, comparisons, print_table
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.translation import translated


def ablate_crossing(
    model: EncoderDecoder, tokenizer: Tokenizer, text: str, heads: list[str], as_json: bool
) -> None:
    """Switch off one head of cross-attention; say of every written word what becomes of it."""
    if len(heads) != 1:
        raise GlassformerError(
            "of two towers one head of cross-attention is switched off; name it: --cross 0.1"
        )
    layer, head = number_pair(heads[0], "--cross", "LAYER.HEAD")
    ids, targets, source = translated(model, tokenizer, text)
    words = lost_words(model, ids, targets, source, layer, head)
    read = [tokenizer.shown(token) for token in source[0].tolist()]
    if as_json:
        return say_json(
            {
                "source": read,
                "layer": layer,
                "head": head,
                "written": [
                    {
                        **word._asdict(),
                        "token": tokenizer.shown(word.token),
                        "instead": tokenizer.shown(word.instead),
                    }
                    for word in words
                ],
            }
        )
    sheet = Sheet()
    sheet.prose(f"Switched off: layer {layer} head {head} of cross-attention", "bold")
    sheet.prose(f"It reads: {' '.join(read)}")
    sheet.line()
    _print_words(sheet, tokenizer, read, words)
    lost = min(words, key=lambda word: word.after - word.before)
    sheet.line()
    if lost.after < lost.before / 2:
        word = tokenizer.shown(lost.token)
        sheet.prose(
            f"Lost: {word}, from {per_cent(lost.before)} to {per_cent(lost.after)}. There the head"
            f" looks at {read[lost.source_pos]} with {per_cent(lost.weight)} of its attention."
        )
    else:
        sheet.prose("No word is lost: none falls to half of its probability.")
    return None


def _print_words(
    sheet: Sheet, tokenizer: Tokenizer, read: list[str], words: list[LostWord]
) -> None:
    changes = comparisons([word.before for word in words], [word.after for word in words])
    rows: list[list[Cell]] = []
    for word, (was, now, change) in zip(words, changes, strict=True):
        rows.append(
            [
                (tokenizer.shown(word.token), ""),
                (f"{read[word.source_pos]} {per_cent(word.weight)}", ""),
                (was, ""),
                (now, ""),
                change,
                (tokenizer.shown(word.instead) if word.instead != word.token else "", ""),
            ]
        )
    titles = ("written", "the head looks at", "before", "after", "difference", "instead")
    right = ("before", "after", "difference")
    print_table(sheet, [Column(title, right=title in right) for title in titles], rows)
