"""`glassformer train`: a new model, a further training, or a run that goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glassformer.cli.config import read_options, typed_options
from glassformer.cli.console import SafeConsole
from glassformer.cli.recall import recall
from glassformer.cli.stopping import ending_at_once, exiting
from glassformer.cli.texts import (
    TEXTS,
    Field,
    Separator,
    Template,
    showing_progress,
    unescaped,
)
from glassformer.cli.together import DEADLINE, together
from glassformer.cli.torchrun import restarted
from glassformer.cli.train_options import (
    checked_adapters,
    checked_beta,
    checked_loggers,
    checked_parts,
    checked_recipe,
    without_none,
)
from glassformer.cli.training import print_outcome, say_event, train_showing
from glassformer.errors import GlassformerError
from glassformer.model.parts import ADAPTABLE
from glassformer.text.corpus import FIELD
from glassformer.text.mixture import parse_weights
from glassformer.training.choices import Choices
from glassformer.training.loop import Outcome
from glassformer.training.preference import BETA
from glassformer.training.prepare import Prepared, check, new_run, resumed_run
from glassformer.training.ranks import Ranks
from glassformer.training.trainable import TRAINABLE

CHECK = "check"
"""The `obj` of a context that asks whether its options can be trained with, and for no training."""


def command(
    ctx: typer.Context,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help=f"{TEXTS} None: Storyland."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run's folder.")] = Path(
        "runs/latest"
    ),
    config: Annotated[  # noqa: ARG001 (its callback reads it)
        Path | None,
        typer.Option(
            metavar="FILE",
            is_eager=True,
            callback=read_options,
            help="Options from a TOML file, such as RUN/train.toml; typed ones win.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="FOLDER", help="Train this model further, on TEXT."),
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(metavar="RANK", min=1, help="With --from: train adapters of this rank alone."),
    ] = None,
    lora_alpha: Annotated[
        float | None,
        typer.Option(help="Scales adapters by alpha / rank. [default: twice the rank]"),
    ] = None,
    lora_on: Annotated[
        str | None,
        typer.Option(
            metavar="W_Q,...",
            help=f"Matrices with an adapter, of {', '.join(ADAPTABLE)}. [default: W_Q,W_V]",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PART,...",
            help="Train these parts alone, such as unembed (the output head) or blocks.1.mlp.",
        ),
    ] = None,
    dpo: Annotated[
        bool,
        typer.Option(
            "--dpo", help="With --from: learn to prefer `chosen` to `rejected` replies to `prompt`."
        ),
    ] = False,
    beta: Annotated[
        float | None,
        typer.Option(help=f"With --dpo: how much a nat of gain counts. [default: {BETA}]"),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Sizes and recipe; `text`, or `storyland` without TEXT.")
    ] = None,
    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="fast|classic",
            help="For characters: the quickest way to a low loss here, or nanoGPT's.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="How text is split: bpe, chars, words or a folder's."),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Tokens in the vocabulary.")] = None,
    field: Field = FIELD,
    template: Template = None,
    separator: Separator = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="How much of each TEXT is read, by its file's name: stories=0.7,poems=0.3.",
        ),
    ] = None,
    document_mask: Annotated[
        bool,
        typer.Option(
            "--document-mask", help="Predict each document from itself alone, not the one before."
        ),
    ] = False,
    n_ctx: Annotated[int | None, typer.Option(help="Positions the model reads at most.")] = None,
    d_model: Annotated[int | None, typer.Option(help="Width of the residual stream.")] = None,
    n_layers: Annotated[int | None, typer.Option(help="Blocks.")] = None,
    n_heads: Annotated[int | None, typer.Option(help="Attention heads per block.")] = None,
    activation: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"How neurons bend their sums: {', '.join(TRAINABLE)}."),
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Probability, while training.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of the weights.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Blocks per forward pass.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Forward passes per update.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="adamw|muon", help="What moves the weights; muon: matrices of blocks alone."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides weights, order and dropout.")] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    sample_every: Annotated[int | None, typer.Option(help="Steps between samples.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many evaluations without a better one; keep the best."),
    ] = None,
    snapshots: Annotated[
        int | None, typer.Option(help="Steps that are kept to look back at, log-spaced.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cuda|mps|cpu")] = "auto",
    dtype: Annotated[str | None, typer.Option(metavar="fp32|bf16")] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile it with torch.compile.")
    ] = None,
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option(
            "--checkpoint-activations", help="Compute a block's values twice and keep fewer."
        ),
    ] = None,
    shard: Annotated[
        bool, typer.Option("--shard", help="With torchrun: each process holds a part (FSDP2).")
    ] = False,
    deadline: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1, help="With torchrun: how long to wait for a process."
        ),
    ] = DEADLINE,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Also write the numbers for tensorboard, wandb (offline) or trackio; a,b for two.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for programs.")
    ] = False,
) -> None:
    r"""Train a model on text, resume a run, or fine-tune a model.

    On several GPUs or machines:
    torchrun --nproc-per-node N -m glassformer train ...

    Ctrl-C, SIGTERM or a closed terminal saves after the current step; a second
    one leaves at once, with the last checkpoint intact. Exit codes: 0 done; 2 an
    error, in one line; 130 after Ctrl-C; 143 after SIGTERM; 129 after SIGHUP.

    Examples:

      glassformer train story.txt --out runs/mine

      glassformer train rows.parquet --template '{question}\n{answer}'

      glassformer train a.txt b.parquet --weights a=0.7,b=0.3

      glassformer train chats.jsonl --from runs/mine --lora 8 --out runs/adapted

      glassformer train pairs.jsonl --from runs/mine --dpo --out runs/preferred

      glassformer train --config runs/mine/train.toml --out runs/again
    """
    if recipe_name is not None and not resume:
        preset = checked_recipe(recipe_name, preset, start_from, bool(texts))
    sizes = {
        "n_ctx": n_ctx,
        "d_model": d_model,
        "n_layers": n_layers,
        "n_heads": n_heads,
        "activation": activation,
        "dropout": dropout,
    }
    recipe = {
        "steps": steps,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "lr": lr,
        "optimizer": optimizer,
        "seed": seed,
        "eval_every": eval_every,
        "sample_every": sample_every,
        "save_every": save_every,
        "patience": patience,
        "snapshots": snapshots,
        "dtype": dtype,
        "compile": compiled,
        "checkpoint_activations": checkpoint_activations,
        "only": checked_parts(only),
    }
    choices = Choices(
        texts=tuple(texts or ()),
        text_field=field,
        template=unescaped(template),
        separator=separator,
        document_mask=document_mask,
        weights=parse_weights(weights or ""),
        preset=preset,
        start_from=start_from,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        model=without_none(sizes),
        recipe=without_none(recipe),
        lora=checked_adapters(lora, lora_alpha, lora_on),
        beta=checked_beta(dpo, beta),
        device=device,
        options=typed_options(ctx),
    )
    if resume and (recipe_name is not None or choices != Choices(device=device)):
        raise GlassformerError(
            "a resumed run goes on exactly as it was started, so --resume takes only --out,"
            " --device, --shard, --deadline, --log and --json; to train on in another way, start a"
            " new run --from it"
        )
    loggers = checked_loggers(log)
    if shard and (lora is not None or only is not None):
        raise GlassformerError(
            "--shard shares out weights and their state, and what is trained is a part of them;"
            " leave --shard out, and each process holds the whole model"
        )
    if ctx.obj == CHECK:
        check(choices)
        return
    resume = resume or (restarted() and (out / "run.json").is_file())
    with together(device, shard, deadline) as ranks:
        choices = replace(choices, device=ranks.where(device))
        train_as(ranks, out, choices, resume, loggers, as_json)


def train_as(
    ranks: Ranks,
    out: Path,
    choices: Choices,
    resume: bool,
    loggers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Prepare and train, as one of the ranks; the first alone writes and prints."""
    console = SafeConsole(quiet=as_json or not ranks.is_first)
    where = choices.device
    with ending_at_once(), showing_progress(console) as progress:
        prepared = ranks.prepare(
            lambda: resumed_run(out, where) if resume else new_run(out, choices, progress),
            lambda: resumed_run(out, where, follows=True),
        )
    with prepared.run:
        outcome, stopped_by = train_showing(
            prepared,
            console,
            loggers=loggers if ranks.is_first else (),
            event=say_event if as_json and ranks.is_first else None,
            ranks=ranks,
        )
    model = ranks.whole_model(prepared.model)
    with exiting(stopped_by):
        if model is not None:
            say_end(outcome, prepared._replace(model=model), console, as_json, ranks.size)


def say_end(
    outcome: Outcome, prepared: Prepared, console: Console, as_json: bool, n_ranks: int
) -> None:
    """How it ended, for people or for programs."""
    recalled = [] if outcome.reason == "stopped" else recall(prepared)
    print_outcome(outcome, prepared, recalled, console, n_ranks)
    if as_json:
        answers = [answer._asdict() for answer in recalled]
        end = {"reason": outcome.reason, "step": outcome.step, "run": str(prepared.run.folder)}
        say_event("end", {**end, "answers": answers})
