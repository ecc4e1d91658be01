"""An encoder is asked: what may stand in every blank of a text, with probabilities."""

from __future__ import annotations

from typing import Any

from glassformer.cli.streams import note, say_json
from glassformer.errors import GlassformerError
from glassformer.generation.blanks import Blank, fill_blanks, filled
from glassformer.generation.prompt import check_prompt
from glassformer.model.kinds import OneTower
from glassformer.show.labels import visible
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import per_cent
from glassformer.show.table import Bars, Column, print_table
from glassformer.text.tokenizer import Tokenizer

SHOWN = 10


def answer_blanks(model: OneTower, tokenizer: Tokenizer, text: str, as_json: bool) -> None:
    """Print the text with its blanks filled, and what else may stand in each."""
    ids = tokenizer.encode_prompt(text)
    check_prompt(model, ids)
    blanks = fill_blanks(model, tokenizer, ids, SHOWN)
    unknown = tokenizer.unknown_words(text)
    if unknown:
        note(f"not in the vocabulary, read as unknown: {', '.join(map(repr, unknown))}")
    answer = tokenizer.decode_known(filled(ids, blanks))
    if as_json:
        say_json(_as_data(tokenizer, text, answer, blanks))
        return
    sheet = Sheet()
    sheet.prose(answer, "bold")
    for number, blank in enumerate(blanks, 1):
        which = f"Blank {number} of {len(blanks)}" if len(blanks) > 1 else "The blank"
        sheet.line()
        sheet.prose(f"{which} (token {blank.pos}):", QUIET)
        rows = [(visible(tokenizer.shown(token)), per_cent(p), p) for token, p in blank.best]
        columns = (Column("token"), Column("probability", right=True), Bars(total=1.0))
        print_table(sheet, columns, rows)
        rest = 1 - sum(p for _, p in blank.best)
        left = model.config.vocab_size - len(blank.best)
        if left:
            sheet.prose(f"… {left:,} other tokens, together {per_cent(rest)}", QUIET, indent=2)


def refuse_what_continues(**settings: object) -> None:
    """Settings of a text that is gone on with mean nothing to an encoder."""
    refused = [name for name, value in settings.items() if value not in (None, False)]
    if refused:
        option = f"--{refused[0].replace('_', '-')}"
        raise GlassformerError(
            f"{option} is for models that go on with a text, and this one is an encoder: it says"
            f" what stands in a blank; leave {option} out"
        )


def _as_data(tokenizer: Tokenizer, text: str, answer: str, blanks: list[Blank]) -> dict[str, Any]:
    return {
        "prompt": text,
        "text": answer,
        "blanks": [
            {
                "pos": blank.pos,
                "best": [
                    {"id": token, "token": tokenizer.shown(token), "probability": p}
                    for token, p in blank.best
                ],
            }
            for blank in blanks
        ],
    }
