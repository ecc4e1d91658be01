"""A model card: what a model is, what it was trained on and how, how well it does, how to cite it.

The form is the hub's: Markdown below a header of YAML (Mitchell et al. 2019 on model cards).
"""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

from glassformer.formula.spelling import difference
from glassformer.interop.match import form_for
from glassformer.model import TowersConfig
from glassformer.model.kinds import AnyModel
from glassformer.model.size import parameter_count
from glassformer.safe_text import harmless
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.run import PastRun

RECIPE = (  # what decides the weights, in the order of the card
    *("steps", "batch_size", "accumulate", "optimizer", "lr", "muon_lr", "momentum"),
    *("warmup_steps", "decay", "final_lr", "weight_decay", "beta1", "beta2", "clip"),
    *("dtype", "seed"),
)

TASKS = {"Decoder": "text-generation", "Encoder": "fill-mask"}

HEADER = """\
---
library_name: transformers
pipeline_tag: {task}
tags:
- glassformer
---
"""

CITE = """\
## How to cite

```bibtex
@software{{glassformer,
  title   = {{Glassformer: a transformer language model with glass walls}},
  author  = {{{{Glassformer contributors}}}},
  version = {{{version}}},
  url     = {{https://github.com/glassformer/glassformer}}
}}
```
"""


def card(name: str, model: AnyModel, run: PastRun | None) -> str:
    """The card of a model; `run`: the training that it comes from, if that is known."""
    task = TASKS.get(type(model).__name__, "text2text-generation")
    parts = [
        f"{HEADER.format(task=task)}\n# {_word(name)}\n",
        _model(model, is_ours=run is not None),
    ]
    if run is not None:
        parts += [_data(run), _recipe(run), _loss(run)]
    parts.append(CITE.format(version=importlib.metadata.version("glassformer")))
    return "\n".join(parts)


def _model(model: AnyModel, is_ours: bool) -> str:
    config: Any = model.config
    tokenizer = model.tokenizer
    form = form_for(config, model.folder_settings.model_type)
    kind = {"Decoder": "A decoder", "Encoder": "An encoder"}.get(type(model).__name__)
    lines = [
        f"{kind or 'An encoder-decoder'} of {parameter_count(config):,} parameters,"
        f" {'trained with Glassformer and written' if is_ours else 'written by Glassformer'} as a"
        f" model of the family `{form.model_type}`.",
        "",
    ]
    if isinstance(config, TowersConfig):
        towers = {"encoder's ": config.encoder, "decoder's ": config.decoder}
    else:
        towers = {"": config}
    for of, tower in towers.items():
        lines += [
            f"- {of}blocks: {tower.n_layers:,}, {tower.n_heads:,} heads in each",
            f"- {of}width: {tower.d_model:,}, {tower.d_mlp:,} in the MLP",
            f"- {of}context: {tower.n_ctx:,} tokens",
        ]
    if isinstance(tokenizer, Tokenizer):
        lines.append(f"- tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens")
    return "\n".join(lines) + "\n"


def _data(run: PastRun) -> str:
    corpus = run.description.corpus
    if corpus.get("kind") == "storyland":
        said = "Storyland, documents that Glassformer writes itself, of known probability."
    elif corpus.get("kind") == "prompts":
        said = (
            "Prompts with examples of a translation, which Glassformer writes itself, of known"
            " probability."
        )
    elif corpus.get("kind") == "translation":
        said = (
            f"English sentences and what they are in {str(corpus['language']).capitalize()}, which"
            " Glassformer writes itself, of known probability."
        )
    else:
        names = ", ".join(_word(Path(str(text)).name) for text in corpus.get("texts", []))
        said = f"{names}." if names else "Not recorded."
    return f"## Data\n\n{said}\n"


def _recipe(run: PastRun) -> str:
    recipe = run.description.recipe.to_dict()
    rows = "\n".join(f"| {name} | {recipe[name]} |" for name in RECIPE if _counts(name, recipe))
    done, steps = run.steps_done, run.description.recipe.steps
    stopped = "" if done >= steps else f"\nStopped after step {done:,} of {steps:,}.\n"
    return f"## Recipe\n\n| | |\n|---|---|\n{rows}\n{stopped}"


def _counts(name: str, recipe: dict[str, Any]) -> bool:
    """Whether a choice had an effect."""
    return recipe["optimizer"] == "muon" or name not in ("muon_lr", "momentum")


def _loss(run: PastRun) -> str:
    """The loss of the model in the folder."""
    step = run.step_held
    if step is None:
        return "## Loss\n\nNot measured.\n"
    loss, where = (
        run.measured[step],
        "on held-out text" if run.of("val_loss") else "on its own text",
    )
    of_pairs = run.description.corpus.get("kind") == "preference"
    lines = [
        f"{loss:.4f} nats per pair of replies {where} after step {step:,}; preferring neither is"
        f" {math.log(2):.4f}."
        if of_pairs
        else f"{loss:.4f} nats per token {where} after step {step:,}, a perplexity of"
        f" {math.exp(min(loss, 700)):,.2f}."
    ]
    floor = run.description.corpus.get("floor")
    if floor is not None:
        lines.append(
            f"No model can be below {floor:.4f}, the entropy of the text:"
            f" {difference(loss, floor, 4)} are left."
        )
    return "## Loss\n\n" + " ".join(lines) + "\n"


def _word(text: str) -> str:
    """A name from elsewhere as a word of Markdown.

    >>> _word("my`run")
    '`my run`'
    """
    return f"`{harmless(text).replace('`', ' ')}`"
