"""The facts of lessons 11 to 13, of the miniature and of the whole flow, by NumPy and PyTorch."""

import json
import math
from collections import Counter
from copy import deepcopy
from itertools import islice, pairwise, product
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glassformer.course import hill
from glassformer.course.classroom import BEGINNING
from glassformer.course.lessons import lesson_12_gradient_descent as descent
from glassformer.course.lessons import lesson_12b_miniature as miniature
from glassformer.course.lessons import lesson_13_in_context as in_context
from glassformer.course.lessons import lesson_13b_flow as flow
from glassformer.course.riddles import KINDS
from glassformer.course.spell import visible
from glassformer.lab.in_context_learning import measure_repeats, readable_tokens
from glassformer.model import Decoder
from glassformer.text.storyland import Answer, Document, documents
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import TrainState
from tests.course.by_numpy import forward, softmax, weights_of
from tests.course.facts import Amount, Cell, Facts, Share
from tests.course.facts_00_to_08 import Known
from tests.course.facts_09_to_10 import mean_loss

GPT = {
    "GPT-2 small": (12, 768, 1024, 4, "Radford et al. 2019"),
    "GPT-2 medium": (24, 1024, 1024, 4, "Radford et al. 2019"),
    "GPT-3": (96, 12288, 2048, 2, "Brown et al. 2020, table 2.1"),
}
"""Blocks, width, context, bytes of a number, source."""


def _parameters(blocks: int, width: int, context: int) -> int:
    """Rows of tokens and places; a block's 12 w² weights, 13 w biases and gains; a last norm."""
    return (50257 + context) * width + blocks * (12 * width**2 + 13 * width) + 2 * width


def facts_11(known: Known) -> Facts:
    room, config = known.room, known.config
    W_in = known.W["blocks.0.mlp.W_in"]
    flat = [W_in.argmax(), np.abs(W_in).argmin(), W_in.argmin()]
    at = [np.unravel_index(index, W_in.shape) for index in flat]
    matrices = {name: tuple(p.shape) for name, p in room.model.named_parameters()}
    total = sum(map(math.prod, matrices.values()))
    largest = max((s for s in matrices.values() if len(s) == 2), key=math.prod)
    files = {file.name: file.stat().st_size for file in room.run.iterdir() if file.is_file()}
    stored = files["model.safetensors"]
    counts = {name: _parameters(*size[:3]) for name, size in GPT.items()}
    ids = room.tokenizer.encode(known.text)
    after: dict[int, Counter[int]] = {}
    for token, following in pairwise(ids):
        after.setdefault(token, Counter())[following] += 1
    several = sorted(
        (pair for pair in after.items() if len(pair[1]) > 1),
        key=lambda pair: (-pair[1].total(), pair[0]),
    )[:4]
    shape = f"{config.n_layers} block{'s' * (config.n_layers > 1)}, {config.d_model} wide"
    return Facts(
        tables={
            "Three connections": [
                [None, f"input {i} → neuron {j}", W_in[i, j], None] for i, j in at
            ],
            "As matrices": [
                *(
                    [name, " × ".join(map(str, s)), float(math.prod(s))]
                    for name, s in matrices.items()
                ),
                ["all", "", float(total)],
            ],
            f"{room.run.name}/": [
                [name, f"{files[name]:,}", None]
                for name in sorted(files)
                if name not in ("lock", "options.toml", "train.toml", BEGINNING)
            ],
            "The same blocks, more of them": [
                ["this one", f"{total:,}", f"{4 * total:,} bytes", shape],
                *(
                    [name, f"{n:,}", Amount(n * GPT[name][3]), f"{L} blocks, {w:,} wide"]
                    for (name, n), (L, w, *_) in zip(counts.items(), GPT.values(), strict=True)
                ),
                ["GPT-4", *["not published"] * 3],
            ],
            **(
                {
                    "What follows what": [
                        [
                            visible(known.vocabulary[first]),
                            visible(known.vocabulary[following]),
                            f"{n} of {counts_.total()}",
                            Share(known.after([first])[following]),
                        ]
                        for first, counts_ in several
                        for following, n in counts_.most_common(2)
                    ]
                }
                if several
                else {}
            ),
        },
        tasks=[math.prod(largest), 4 * counts["GPT-2 small"] / 1e6],
        numbers=[
            stored,
            W_in.size,
            config.vocab_size,
            config.d_model,
            config.n_ctx,
            config.n_layers,
            *largest,
            counts["GPT-2 small"],
            counts["GPT-2 small"] / 1e6,
        ],
        constants={
            "0": "the number of the block",
            "4": "bytes of a float32",
            "2": "bytes of a float16",
        },
    )


def facts_12(known: Known) -> Facts:
    rates, w0 = [*hill.RATES.values()], 2.0
    paths = [[w0] for _ in rates]
    for path, rate in zip(paths, rates, strict=True):
        for _ in range(8):
            w = torch.tensor(path[-1], dtype=torch.float64, requires_grad=True)
            (gradient,) = torch.autograd.grad((2 * w - 1) ** 2, w)
            path.append(path[-1] - rate * gradient.item())
    errors = np.square(2 * np.array(paths) - 1)
    grid = np.arange(61) / 20 - 0.5
    state = known.room.state("miniature")
    ids, target = state.tokenizer.encode(descent.PROMPT), state.tokenizer.encode(descent.WORD)[0]
    loss, gradients = _gradients(state, ids, target)
    U = gradients["unembed.W_U"]
    row = int(U[:, target].abs().argmax())
    weight, gradient = (
        state.model.weights()["unembed.W_U"][row, target].item(),
        U[row, target].item(),
    )
    w, g = float(f"{weight:.3f}"), float(f"{gradient:.3f}")
    learned = _adam(state, ids, target, descent.MINIATURE_LR, descent.MINIATURE_STEPS)
    rows = [json.loads(line) for line in (known.room.run / "metrics.jsonl").open()]
    losses = {r["step"]: r["loss"] for r in rows if "loss" in r}
    steps = sorted(losses)
    stride = max(len(steps) // 60, 1)
    shown = sorted({*steps[::stride], steps[-1]})
    V = known.config.vocab_size
    slope = 2 * (2 * w0 - 1) * 2
    return Facts(
        tables={
            "Three learning rates": [[str(i), *(path[i] for path in paths)] for i in range(9)],
            "One of its weights": [
                ["the weight", weight],
                ["its gradient", gradient],
                ["weight - 1 × gradient", weight - gradient],
            ],
            "5 steps of AdamW": [
                [str(i), nats, Share(math.exp(-nats))] for i, nats in enumerate(learned)
            ],
        },
        pictures={
            "The hill: the error of every weight": {"error": [grid, (2 * grid - 1) ** 2]},
            "The error on the way": {
                f"{rate:g}": [range(9), np.minimum(row, 2 * errors[0, 0])]
                for rate, row in zip(rates, errors, strict=True)
            },
            "The gradients of unembed.W_U": U,
            "How large the gradients are, matrix by matrix": [
                gradients[name].norm().item() for name in gradients
            ],
            "The loss while it learned": {"loss": [shown, [losses[step] for step in shown]]},
        },
        tasks=[w0 - 0.1 * slope, w - g],
        numbers=[
            *rates,
            *(abs(path[-1] - 0.5) for path in paths),
            slope,
            1 - 2 * 2**2 * rates[-1],
            2 * errors[0, 0],
            math.exp(-loss),
            w,
            g,
            row,
            target,
            *(gradients[name].numel() for name in gradients),
            len(steps),
            known.n_parameters,
            V,
            math.log(V),
            sum(g.numel() for name, g in gradients.items() if "embed." not in name or "un" in name),
        ],
        constants={
            "8": "steps of the walkers; words of the miniature",
            "2": "the example's input, the first weight, and the power of a square",
            "1": "the example's answer, and the learning rate of the miniature",
            "0.5": "the bottom: 1 / 2",
            "5": "steps of AdamW that are shown",
        },
    )


def _gradients(state: TrainState, ids: list[int], target: int) -> tuple[float, dict[str, Tensor]]:
    """The loss of one next token, and its gradients by PyTorch, in the views' order."""
    model = deepcopy(state.model)
    loss = nn.functional.cross_entropy(model(torch.tensor([ids]))[0, -1:], torch.tensor([target]))
    loss.backward()
    named = {view.name: view for view in model.views(lambda parameter: parameter.grad)}
    return loss.item(), {name: view.value for name, view in named.items()}


def _adam(state: TrainState, ids: list[int], target: int, lr: float, steps: int) -> list[float]:
    """The loss before each step of PyTorch's own AdamW, and after the last."""
    model = deepcopy(state.model).requires_grad_()
    recipe = state.recipe
    optimizer = torch.optim.AdamW(
        model.parameters(), lr, (recipe.beta1, recipe.beta2), eps=1e-8, weight_decay=0
    )
    losses = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        logits = model(torch.tensor([ids]))[0, -1:]
        loss = nn.functional.cross_entropy(logits, torch.tensor([target]))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        losses.append(loss.item())
        optimizer.step()
    return losses


def facts_miniature(known: Known) -> Facts:
    state = known.room.state("miniature")
    config, W = state.model.config, weights_of(state.model)
    prompt = state.tokenizer.encode(miniature.PROMPT)
    sentence = state.tokenizer.encode(miniature.SENTENCE)
    words = [state.tokenizer.token(i) for i in range(config.vocab_size)]
    target = words.index(miniature.WORD)
    first = _softmaxed(state.model, prompt)[-1]
    model, chances = _learned(state, state.model, prompt, {len(prompt) - 1: target}, 20)
    logits = _logits(model, prompt)[-1]
    order = np.argsort(-logits, kind="stable")
    shares = [softmax(logits / t)[order] for t in (0.5, 1.0, 2.0)]
    ratio = float(f"{shares[1][0] / shares[1][1]:.3g}")
    longer = _softmaxed(model, [*prompt, target])[-1]
    asked = dict(enumerate(sentence[1:]))
    learned, reached = _learned(state, model, sentence[:-1], asked, 400, until=0.9)
    spelled = miniature.SENTENCE.split()
    part_rows: list[list[Cell]] = []
    total = 0
    for part, name in miniature.PARTS.items():
        matrix, bias = (W[f"blocks.0.{name.format(letter)}"] for letter in "Wb")
        size = matrix.size + bias.size
        shape = " × ".join(str(n) for n in matrix.reshape(-1, matrix.shape[-1]).shape)
        part_rows.append([part, shape, str(bias.size), str(size)])
        total += size
    U, b = W["unembed.W_U"], W["unembed.b_U"]
    part_rows.append(
        ["head (scores)", f"{U.shape[0]} × {U.shape[1]}", str(b.size), str(U.size + b.size)]
    )
    total += U.size + b.size
    half = next(i for i, chance in enumerate(chances) if chance > 0.5)
    return Facts(
        tables={
            "The learnable weights": [*part_rows, ["all", "", "", str(total)]],
            "The whole sentence, learned": [
                [
                    " ".join(spelled[:n]),
                    spelled[n],
                    Share(_softmaxed(learned, sentence[:n])[-1][sentence[n]]),
                ]
                for n in range(1, len(spelled))
            ],
        },
        pictures={
            "Before the training": np.sort(first)[::-1],
            "The probability of “mat” after each step": {"mat": [range(len(chances)), chances]},
            "After “the cat sat on a”, at three temperatures": np.transpose(shares),
        },
        tasks=[
            W["blocks.0.mlp.W_in"].size + W["blocks.0.mlp.b_in"].size,
            ratio**2,
        ],
        numbers=[
            total,
            config.vocab_size,
            config.d_model,
            W["embed.W_E"].size + W["pos_embed.W_pos"].size,
            *W["blocks.0.mlp.W_in"].shape,
            1 / config.vocab_size,
            first[target],
            chances[0],
            chances[-1],
            half,
            20,
            ratio,
            longer.max(),
            len(reached) - 1,
        ],
        constants={
            "0%": "a wrong choice",
            "50%": "a wrong choice",
            "268": "the miniature's weights, counted in its table",
            "90%": "what each word shall have, at least",
            "1": "a blind guess is 1 of 8; a temperature",
            "0.5": "a temperature",
        },
    )


def _logits(model: nn.Module, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].double().numpy()


def _softmaxed(model: nn.Module, ids: list[int]) -> np.ndarray:
    return softmax(_logits(model, ids))


def _learned(
    state: TrainState,
    begin: nn.Module,
    ids: list[int],
    asked: dict[int, int],
    most: int,
    until: float = 1.0,
) -> tuple[nn.Module, list[float]]:
    """A model after `most` steps of PyTorch's AdamW, or once all that is asked is sure.

    With it the least probability of what is asked, before each step and after the last.
    """
    model, recipe = deepcopy(begin).requires_grad_(), state.recipe
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        state.next_lr,
        (recipe.beta1, recipe.beta2),
        eps=1e-8,
        weight_decay=recipe.weight_decay,
    )
    at, targets = [*asked], torch.tensor([*asked.values()])
    chances = []
    for step in range(most + 1):
        optimizer.zero_grad()
        logits = model(torch.tensor([ids]))[0, at]
        chances.append(logits.double().softmax(-1)[range(len(at)), targets].min().item())
        if step == most or chances[-1] > until:
            break
        nn.functional.cross_entropy(logits, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
    return model.requires_grad_(False), chances


def facts_flow(known: Known) -> Facts:
    room, config = known.room, known.config
    described = json.loads((room.run / "run.json").read_text(encoding="utf-8"))
    recipe = room.state().recipe
    rows = [json.loads(line) for line in (room.run / "metrics.jsonl").open(encoding="utf-8")]
    losses = {r["step"]: r["loss"] for r in rows if "loss" in r}
    first, last = min(losses), max(losses)
    table: list[list[Cell]] = []
    text, ids = room.prompt, [*known.ids]
    for _ in range(3):
        if len(ids) >= config.n_ctx:
            break
        p = known.after(ids)
        best = int(p.argmax())
        table.append([text, visible(known.vocabulary[best]), Share(p[best])])
        text = room.tokenizer.decode([*ids, best])
        ids = room.tokenizer.encode_prompt(text)
    stored = len(known.stored)
    n = stored if stored < 1_000 else stored - round(stored / 10)  # a longer one's tenth is kept
    right = known.best[0]
    windows: list[list[Cell]] = []
    for name, model in (
        ("all before it", room.model),
        ("a window of 2", room.variant(windows=(2,)).model),
    ):
        W = weights_of(model)
        share = forward(model.config, W, known.ids)["probs"][-1, right]
        windows.append([name, mean_loss(known, model.config, W), Share(share)])
    scores = known.of["blocks.0.attn.scores"][0, -1]
    shares = known.of["blocks.0.attn.pattern"][0, -1]
    narrow = np.tri(len(scores)) - np.tri(len(scores), k=-2)
    assert described["model"]["n_ctx"] == config.n_ctx
    return Facts(
        tables={
            "Token by token": table,
            "Thirteen lessons in thirteen lines": [
                [f"{i} {name}", line] for i, (name, line) in enumerate(flow.KEEP, 1)
            ],
            "What you know of “Attention Is All You Need”": flow.PAPER,
            "The same model with and without": windows,
            f"The shares of “{known.tokens[-1]}” in head 0": [
                [token, score, share, share]
                for token, score, share in zip(known.tokens, scores, shares, strict=True)
            ],
        },
        pictures={"Who may look at whom, with a window": narrow},
        tasks=[recipe.batch_size * config.n_ctx],
        numbers=[
            len(room.text),
            len(known.vocabulary),
            n,
            config.n_ctx,
            recipe.batch_size,
            config.d_model,
            config.n_layers,
            config.n_heads,
            config.d_mlp,
            losses[first],
            first,
            known.n_parameters,
            known.n_parameters // 2,
            recipe.steps,
            losses[last],
            0,
        ],
        constants={
            "2017": "Vaswani et al. 2017",
            "0": "a choice: no weight; the number of the head",
            "2": "tokens of a window, and scores of a piece",
            "16": "bits of bf16 and fp16",
            "32": "bits of a float32",
            "13": "a lesson's number",
        },
    )


def facts_13(known: Known) -> Facts:
    state = known.room.riddler
    model, tokenizer = state.model, state.tokenizer
    config = model.config
    fresh = [*islice((d for d in documents("in-context") if d.kind in KINDS), in_context.READ)]
    counts: dict[tuple[str, int], list[bool]] = {}
    for document in fresh:
        for answer, right, _ in _answered(model, tokenizer, document):
            counts.setdefault((document.kind, answer.n_examples), []).append(right)
    measured = {key: marks for key, marks in sorted(counts.items()) if len(marks) >= 20}
    asked = fresh[: in_context.QUESTIONING]
    looks: dict[tuple[int, int], list[tuple[float, float]]] = {}
    all_right: list[bool] = []
    without: dict[tuple[int, int], list[bool]] = {}
    heads = [*product(range(config.n_layers), range(config.n_heads))]
    silenced = {head: _without(model, *head) for head in heads}
    for document in asked:
        answers = _answered(model, tokenizer, document)
        askings = [asking for _, _, asking in answers if asking.shown]
        all_right += [right for _, right, asking in answers if asking.shown]
        trace = model.watch(_ids(tokenizer, document), keep="*.attn.pattern")
        for layer, head in heads:
            shares = trace[f"fwd/blocks.{layer}.attn.pattern"][head]
            looks.setdefault((layer, head), []).extend(
                (shares[at - 1, shown].sum().item(), shares[at - 1, at - 2].item())
                for at, shown in askings
            )
            again = _answered(silenced[layer, head], tokenizer, document)
            without.setdefault((layer, head), []).extend(
                right for _, right, asking in again if asking.shown
            )
    missed = sorted(heads, key=lambda head: fmean(without[head]))
    names = [f"layer {layer} head {head}" for layer, head in missed]
    lines = {
        name: np.transpose([(n, fmean(m)) for (k, n), m in measured.items() if k == kind])
        for kind, name in KINDS.items()
    }
    puzzles = [in_context.puzzle(known.room, kind) for kind in KINDS]
    first, second = (
        _softmaxed(model, tokenizer.encode_prompt(prompt))[-1] for prompt, *_ in puzzles
    )
    colors = sorted([puzzles[0][1], *puzzles[0][2]])[:4]
    shares = [first[tokenizer.encode(color)[0]] for color in colors]
    repeats = measure_repeats(model, readable_tokens(tokenizer))
    (n_first, marks_first) = next((n, marks) for (_, n), marks in measured.items())
    return Facts(
        tables={
            f"Measured on {in_context.READ} texts that the model never saw": [
                [KINDS[kind], str(n), str(len(marks)), Share(fmean(marks))]
                for (kind, n), marks in measured.items()
            ],
            "Where each head looks when the answer is due": [
                [name, *map(Share, np.mean(looks[head], 0).tolist())]
                for name, head in zip(names, missed, strict=True)
            ],
        },
        pictures={
            "What the model gives": shares,
            "Right answers, by the examples shown before": {
                k: v for k, v in lines.items() if v.size
            },
            "Right answers without this head": [fmean(without[head]) for head in missed],
        },
        tasks=[100 * fmean(marks_first)],
        numbers=[
            state.recipe.steps,
            *shares,
            second[tokenizer.encode(puzzles[1][1])[0]],
            n_first,
            len(marks_first),
            sum(marks_first),
            len(asked),
            len(all_right),
            fmean(all_right),
            fmean(without[missed[0]]),
            *missed[0],
            repeats.induction.max().item(),
            repeats.uniform,
            known.config.n_layers,
            fmean(mark for (_, n), marks in measured.items() if n == 1 for mark in marks),
            fmean(mark for (_, n), marks in measured.items() if n > 1 for mark in marks),
            1,
        ],
        constants={str(in_context.READ): "how many texts the lesson measures on"},
    )


class Asking(NamedTuple):
    """Where an answer stands, and where its token was shown before."""

    at: int
    shown: list[int]


def _ids(tokenizer: Tokenizer, document: Document) -> list[int]:
    return [tokenizer.id("<eos>"), *tokenizer.encode(document.text)][:48]


def _answered(
    model: nn.Module, tokenizer: Tokenizer, document: Document
) -> list[tuple[Answer, bool, Asking]]:
    """Every answer of a text that the context holds, and whether it was the likeliest."""
    ids = _ids(tokenizer, document)
    best = _logits(model, ids).argmax(-1)
    result = []
    for answer in document.answers:
        at = 1 + len(tokenizer.encode(document.text[: answer.start].rstrip()))
        if at < len(ids):
            shown = [i for i in range(at) if ids[i] == ids[at]]
            result.append((answer, bool(best[at - 1] == ids[at]), Asking(at, shown)))
    return result


def _without(model: Decoder, layer: int, head: int) -> Decoder:
    """The model whose head writes nothing: its rows of W_O are zero."""
    silenced = deepcopy(model)
    silenced.weights()[f"blocks.{layer}.attn.W_O"].data[head].zero_()
    return silenced


FACTS = {
    "11": facts_11,
    "12": facts_12,
    "miniature": facts_miniature,
    "13": facts_13,
    "flow": facts_flow,
}
