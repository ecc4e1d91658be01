"""Every parameter of an encoder-decoder, counted without making one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table

from glassformer.cli.console import SafeConsole
from glassformer.cli.streams import say_json
from glassformer.model import EncoderDecoder, TowersConfig

WHAT = {  # the beginning of a weight's name in its tower -> what it is
    "embed.": "tokens",
    "pos_embed.": "positions",
    "distances.": "distances",
    "ln_embed.": "norm of embeddings",
    "ln_final.": "final norm",
    "unembed.": "head",
    "attn.": "attention",
    "cross_attn.": "cross-attention",
    "mlp.": "MLP",
    "ln": "norms",
}


@dataclass(frozen=True)
class TowerRow:
    """What one kind of part counts, in one of its layers where it is of a block."""

    tower: str
    component: str
    weights: int
    layers: int = 1

    @property
    def parameters(self) -> int:
        return self.weights * self.layers


def count_towers(config: TowersConfig) -> list[TowerRow]:
    """The parameters of both towers by kind of part; nothing is allocated.

    >>> from glassformer.interop.open import config_of
    >>> sum(row.parameters for row in count_towers(config_of("transformer-base")))
    63045632
    """
    layers = {"encoder": config.encoder.n_layers, "decoder": config.decoder.n_layers}
    with torch.device("meta"):
        views = [*EncoderDecoder(config).views()]
    counted: dict[tuple[str, str, bool], int] = {}
    for view in views:
        tower, _, name = view.name.partition(".")
        if tower not in layers:
            tower, name = "decoder", view.name
        in_block = name.startswith("blocks.")
        local_name = name.split(".", 2)[2] if in_block else name
        what = next(what for start, what in WHAT.items() if local_name.startswith(start))
        key = (tower, what, in_block)
        counted[key] = counted.get(key, 0) + view.value.numel()
    return [
        TowerRow(tower, what, n // layers[tower], layers[tower])
        if in_block
        else TowerRow(tower, what, n)
        for (tower, what, in_block), n in counted.items()
    ]


def vocabulary_of(config: TowersConfig, total: int, millions: int) -> tuple[int, int, int]:
    """The parameters beside the tables, and the sizes of vocabulary that give so many millions.

    The least and the most that are rounded to them, of towers whose tables are one.

    >>> from glassformer.interop.open import config_of
    >>> vocabulary_of(config_of("transformer-base"), 63_045_632, 65)
    (44101632, 39841, 41793)
    """
    d_model = config.encoder.d_model
    others = total - config.vocab_size * d_model
    least, most = (10**6 * millions + half - others for half in (-500_000, 500_000))
    return others, -(-least // d_model), most // d_model


def print_towers(
    model: str, config: TowersConfig, as_json: bool, paper: Mapping[str, Any] | None = None
) -> None:
    """Print the parameters of both towers, or say them as JSON; `paper`: what a source counts."""
    rows = count_towers(config)
    total = sum(row.parameters for row in rows)
    tables = "one table, shared" if config.shared_embeddings else "a table for each tower"
    head = "the head is the decoder's table" if config.tied else "a head of its own"
    size, source = config.vocab_size, config.encoder.vocab_size
    vocabulary = f"{size:,}" if size == source else f"{source:,} to read and {size:,} to write"
    if as_json:
        components = [{**asdict(row), "parameters": row.parameters} for row in rows]
        counted: dict[str, Any] = {"model": model, "components": components, "total": total}
        return say_json({**counted, "paper": dict(paper)} if paper else counted)
    console = SafeConsole()
    console.print(f"{model}: {total:,} parameters", style="bold", soft_wrap=True)
    console.print(f"Vocabulary of {vocabulary}: {tables}; {head}.\n", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("component")
    for header in ("parameters", "blocks", "together"):
        table.add_column(header, justify="right")
    for tower in ("encoder", "decoder"):
        table.add_row(tower.capitalize(), style="bold")
        inside = [row for row in rows if row.tower == tower]
        for row in inside:
            blocks = f"{row.layers}" if row.layers > 1 else ""
            each = f"{row.weights:,}"
            table.add_row(f"  {row.component}", each, blocks, f"{row.parameters:,}")
        table.add_row("  all", "", "", f"{sum(row.parameters for row in inside):,}")
    table.add_row("Total", "", "", f"{total:,}", style="bold")
    console.print(table)
    if paper is not None:
        others, least, most = vocabulary_of(config, total, paper["millions"])
        console.print(
            f"\n{paper['source']}, says {paper['millions']} million: beside the {others:,} others"
            f" that is a table of {least:,} to {most:,} rows, and {size:,} are counted here."
        )
    return None
