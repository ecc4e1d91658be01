"""`glassformer params`: every parameter of a model, counted without making one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import torch
import typer
from rich.table import Table

from glassformer.cli.as_json import AsJson
from glassformer.cli.console import SafeConsole
from glassformer.cli.streams import say_json
from glassformer.cli.towers_params import print_towers
from glassformer.interop.open import config_of
from glassformer.model import Config, TowersConfig, load_preset, preset_names
from glassformer.model.kinds import kind_of
from glassformer.watch.view import View

BYTES = {"fp32": 4, "bf16": 2}  # per parameter, as it lies in model.safetensors
EMBEDDINGS, BLOCK, END = "embeddings", "block", "end"

ADAPTERS = tuple(  # the two matrices of each, A and B
    (BLOCK, f"{component} adapter {side}", f"{scope}.lora_{name}.{side}", "")
    for component, scope, name in (
        ("query", "attn", "Q"),
        ("key", "attn", "K"),
        ("value", "attn", "V"),
        ("output", "attn", "O"),
        ("MLP gate", "mlp", "gate"),
        ("MLP up", "mlp", "in"),
        ("MLP down", "mlp", "out"),
    )
    for side in "AB"
)

COMPONENTS = (  # part, component, weight, bias; those of a block are named inside block 0
    (EMBEDDINGS, "tokens", "embed.W_E", ""),
    (EMBEDDINGS, "token types", "type_embed.W_type", ""),
    (EMBEDDINGS, "positions", "pos_embed.W_pos", ""),
    (EMBEDDINGS, "norm", "ln_embed.w", "ln_embed.b"),
    (BLOCK, "norm 1", "ln1.w", "ln1.b"),
    (BLOCK, "query", "attn.W_Q", "attn.b_Q"),
    (BLOCK, "key", "attn.W_K", "attn.b_K"),
    (BLOCK, "value", "attn.W_V", "attn.b_V"),
    (BLOCK, "query norm", "attn.q_norm.w", ""),
    (BLOCK, "key norm", "attn.k_norm.w", ""),
    (BLOCK, "sinks", "attn.sinks", ""),
    (BLOCK, "output", "attn.W_O", "attn.b_O"),
    (BLOCK, "norm 1, after", "ln1_post.w", "ln1_post.b"),
    (BLOCK, "norm 2", "ln2.w", "ln2.b"),
    (BLOCK, "router", "mlp.W_router", "mlp.b_router"),
    (BLOCK, "MLP gate", "mlp.W_gate", "mlp.b_gate"),
    (BLOCK, "MLP up", "mlp.W_in", "mlp.b_in"),
    (BLOCK, "MLP alpha +", "mlp.alpha_p", ""),
    (BLOCK, "MLP alpha -", "mlp.alpha_n", ""),
    (BLOCK, "MLP down", "mlp.W_out", "mlp.b_out"),
    (BLOCK, "norm 2, after", "ln2_post.w", "ln2_post.b"),
    *ADAPTERS,
    (END, "final norm", "ln_final.w", "ln_final.b"),
    (END, "masked head", "masked_head.W_in", "masked_head.b_in"),
    (END, "masked head norm", "masked_head.ln.w", "masked_head.ln.b"),
    (END, "head", "unembed.W_U", "unembed.b_U"),
)


@dataclass(frozen=True)
class Row:
    """One component: its matrix [in, out] and what it counts, in one of its `layers`."""

    part: str
    component: str
    shape: tuple[int, ...]
    weights: int
    biases: int
    layers: int
    tied: bool = False

    @property
    def parameters(self) -> int:
        return self.layers * (self.weights + self.biases)


def count(config: Config) -> list[Row]:
    """The parameters of a configuration by component; nothing is allocated.

    >>> rows = count(Config.preset("miniature"))
    >>> [(row.component, row.parameters) for row in rows if row.part == "block"]
    [('query', 20), ('key', 20), ('value', 20), ('output', 20), ('MLP up', 80), ('MLP down', 68)]
    """
    kinds = Counter(  # one layer tells of all of its kind
        (config.has_experts(layer), layer > 0 or config.first_norm)
        for layer in range(config.n_layers)
    )
    rows: list[Row] = []
    for (has_experts, norm), layers in kinds.items():
        one = config.replace(n_layers=1, expert_layers=(has_experts,), first_norm=norm)
        for row in _rows(one, layers):
            same = next((i for i, known in enumerate(rows) if _alike(known, row)), None)
            if same is None:
                rows.append(row)
            elif row.part == BLOCK:
                rows[same] = replace(row, layers=rows[same].layers + layers)
    order = [component[:2] for component in COMPONENTS]
    order += [(row.part, row.component) for row in rows]  # those that are no component's
    parts = (EMBEDDINGS, BLOCK, END)
    return sorted(
        rows, key=lambda row: (parts.index(row.part), order.index((row.part, row.component)))
    )


def _alike(one: Row, other: Row) -> bool:
    return replace(one, layers=0) == replace(other, layers=0)


def _rows(config: Config, layers: int) -> Iterator[Row]:
    """What a model of one layer has, of which there are so many."""
    with torch.device("meta"):
        views = {view.name: view for view in kind_of(config)(config).views()}
    named: set[str] = set()
    for part, component, weight, bias in COMPONENTS:
        scope = "blocks.0." if part == BLOCK else ""
        named |= {scope + weight, scope + bias}
        tied = component == "head" and config.tied
        w = _transposed(views["embed.W_E"]) if tied else views.get(scope + weight)
        b = views.get(scope + bias)
        shown = w or b
        if shown is None:
            continue
        yield Row(
            part,
            component,
            _shape(shown),
            0 if tied or w is None else w.value.numel(),
            b.value.numel() if b is not None else 0,
            layers if part == BLOCK else 1,
            tied,
        )
    for name, view in views.items():
        if name not in named:
            scope, part = ("blocks.0.", BLOCK) if name.startswith("blocks.") else ("", END)
            numbers, of = view.value.numel(), layers if part == BLOCK else 1
            yield Row(part, name.removeprefix(scope), _shape(view), numbers, 0, of)


def _transposed(view: View) -> View:
    return View(view.name, view.value.T, view.axes[::-1])


def _shape(view: View) -> tuple[int, ...]:
    """The shape with all heads side by side, as the matrix is multiplied."""
    sizes = dict(zip(view.axes, view.value.shape, strict=True))
    if "d_head" not in sizes:
        return tuple(sizes.values())
    heads = sizes.pop("head", 0) or sizes.pop("kv_head", 1)
    return tuple(n * heads if axis == "d_head" else n for axis, n in sizes.items())


def command(
    model: Annotated[str, typer.Argument(metavar="PRESET|FOLDER|hf:OWNER/NAME")],
    as_json: AsJson = False,
) -> None:
    """Count the parameters of a preset, a folder or a hub model, without making its weights."""
    config = config_of(model)
    if isinstance(config, TowersConfig):
        paper = load_preset(model).get("paper") if model in preset_names() else None
        print_towers(model, config, as_json, paper)
    elif as_json:
        say_json(_as_data(model, count(config)))
    else:
        _print(model, config, count(config))


def _totals(rows: list[Row]) -> dict[str, int]:
    embeddings = sum(row.parameters for row in rows if row.part == EMBEDDINGS)
    total = sum(row.parameters for row in rows)
    return {"without_embeddings": total - embeddings, "embeddings": embeddings, "total": total}


def _as_data(model: str, rows: list[Row]) -> dict[str, object]:
    totals = _totals(rows)
    return {
        "model": model,
        "components": [{**asdict(row), "parameters": row.parameters} for row in rows],
        **totals,
        "bytes": {dtype: each * totals["total"] for dtype, each in BYTES.items()},
    }


def _print(model: str, config: Config, rows: list[Row]) -> None:
    totals = _totals(rows)
    console = SafeConsole()
    console.print(f"{model}: {totals['total']:,} parameters\n", style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("component")
    table.add_column("shape")
    for header in ("weights", "biases", "parameters"):
        table.add_column(header, justify="right")
    n = config.n_layers
    titles = {
        EMBEDDINGS: "Embeddings",
        BLOCK: "The block" if n == 1 else f"Each of blocks 0 to {n - 1}",
        END: "After the blocks",
    }
    for part, title in titles.items():
        table.add_row(title, style="bold")
        inside = [row for row in rows if row.part == part]
        alike = all(row.layers == n for row in inside)
        for row in inside:
            where = "" if part != BLOCK or row.layers == n else f", in {row.layers} of them"
            table.add_row(*_cells(row, where))
        if part == BLOCK:
            each = sum(row.weights + row.biases for row in inside)
            if alike:
                table.add_row("  one block", "", "", "", f"{each:,}")
            if n > 1:
                total = sum(row.parameters for row in inside)
                table.add_row(f"  {n} blocks", "", "", "", f"{total:,}")
    table.add_row()
    table.add_row("Without embeddings", "", "", "", f"{totals['without_embeddings']:,}")
    table.add_row("Embeddings", "", "", "", f"{totals['embeddings']:,}")
    table.add_row("Total", "", "", "", f"{totals['total']:,}", style="bold")
    console.print(table)
    sizes = ", ".join(f"{_size(each * totals['total'])} in {d}" for d, each in BYTES.items())
    console.print(f"\nmodel.safetensors, header apart: {sizes}")


def _cells(row: Row, where: str) -> tuple[str, ...]:
    shape = "[" + ", ".join(map(str, row.shape)) + "]"
    weights = "tied to tokens" if row.tied else f"{row.weights:,}"
    each = row.weights + row.biases
    return f"  {row.component}{where}", shape, weights, f"{row.biases:,}", f"{each:,}"


def _size(n_bytes: float) -> str:
    """A number of bytes, to four digits, in units of 1000."""
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:,.4g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} GB"
