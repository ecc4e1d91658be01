"""A model by its name: a folder, a preset, or a model on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.interop import hub
from glassformer.interop.adapters import (
    base_of,
    config_with_adapters,
    is_adapters,
    read_adapters,
)
from glassformer.interop.folder import load_folder, read_config, refuse_larger_vocabulary
from glassformer.model import Decoder, build_preset, load_preset, preset_names
from glassformer.model.adapted import refuse_two
from glassformer.model.kinds import config_from
from glassformer.text import tokenizer_files
from glassformer.text.load import has_tokenizer, load_tokenizer
from glassformer.text.tokenizer import Tokenizer

MOST_FOLDERS = 1_000  # looked at for one of a similar name


def name_of(name: object) -> Path:
    """A name as a path.

    Errors: something else, such as a model that is open already.
    """
    if not isinstance(name, str | Path):
        raise GlassformerError(
            f"a model is opened by its name, a folder or a preset, not by {type(name).__name__};"
            " one that is open has methods of its own, such as model.watch(text)"
        )
    if not str(name).strip():
        raise GlassformerError("the model's name is empty; give a folder or a preset")
    return Path(name)


def refuse_elsewhere(dtype: torch.dtype | None, device: str | torch.device | None) -> None:
    """Raise where no weights can be: a dtype that holds no fractions, a device that is not here."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise GlassformerError(
            f"dtype={dtype!r} holds no weights; give torch.float32, bfloat16, float16 or float64"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        why = str(error).strip().partition("\n")[0]
        raise GlassformerError(
            f"device={device!r} is none of this machine's ({why}); give cpu, or cuda or mps where"
            " there is one"
        ) from error


def load(
    name: str | Path, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> tuple[Decoder | Any, Tokenizer | None]:
    """Open a model and its tokenizer, ready for use (`model.eval()`).

    Most folders hold a Decoder, and type checkers check the model as one; some an Encoder or an
    EncoderDecoder, for which a script asks with `isinstance`.

    name: a folder that `save`, `glassformer train` or `transformers` wrote; else a preset,
    with its own weights or new ones from seed 0; else OWNER/NAME in the Hugging Face hub's local
    cache; ``hf:OWNER/NAME`` is downloaded (extra `hub`) where it is not in the cache, and nothing
    else asks the network. dtype: of the weights; None keeps the stored one. The tokenizer is None
    where there is none.

    >>> model, tokenizer = load("worked_example")
    >>> logits = model(torch.tensor([tokenizer.encode("the cat sat on")]))
    >>> tokenizer.token(int(logits[0, -1].argmax()))
    'cat'
    """
    path = name_of(name)
    refuse_elsewhere(dtype, device)
    if is_adapters(path):
        return _load_adapted(path, dtype, device)
    if _is_folder(path):
        return load_folder(path, dtype, device)
    if path.is_file():
        raise GlassformerError(f"{path} is a file; give the folder that holds the model")
    if str(name) in preset_names():
        return _load_preset(str(name), dtype, device)
    if (folder := hub.find(str(name))) is not None:
        return load_folder(folder, dtype, device)
    raise _unknown(str(name))


def reads_text(name: str | Path) -> bool:
    """Whether a preset or a model's folder has a tokenizer; of others: True until they are opened.

    Asked before weights are made or read, which may take minutes.
    """
    path = name_of(name)
    if _is_folder(path):
        return is_adapters(path) or has_tokenizer(path) or not (path / "config.json").is_file()
    return str(name) not in preset_names() or "vocabulary" in _words(str(name))


def tokenizer_of(name: str | Path) -> Tokenizer:
    """The tokenizer of a model, which is not opened: see `load` for the name.

    A folder or a file that holds a tokenizer and nothing else is read, too.

    >>> tokenizer_of("miniature").encode("the cat")
    [0, 1]
    """
    path = name_of(name)
    if is_adapters(path) and not tokenizer_files.holds_tokenizer(path):
        return tokenizer_of(base_of(path))
    if path.is_file() or _is_folder(path):
        return load_tokenizer(path)
    if str(name) in preset_names():
        tokenizer = _tokenizer_of_preset(str(name))
        if tokenizer is None:
            raise without_tokenizer(str(name))
        return tokenizer
    if (folder := hub.find(str(name))) is not None:
        return load_tokenizer(folder)
    raise _unknown(str(name))


def without_tokenizer(name: str) -> GlassformerError:
    """What is said of a model that can't read a text."""
    if name in preset_names():
        return GlassformerError(
            f"{name} is a preset: sizes with random weights and no tokenizer, so it can't read a"
            " text; give a trained model's folder, or hf:OWNER/NAME on the Hugging Face hub,"
            " such as hf:openai-community/gpt2"
        )
    return GlassformerError(
        f"{name} has no tokenizer, so it can't read a text; give a folder with a tokenizer.json,"
        " or with vocab.json and merges.txt. Of another form transformers makes one:"
        " AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    )


def _words(preset: str) -> dict[str, Any]:
    words: dict[str, Any] = load_preset(preset).get("tokenizer", {})
    return words


def config_of(name: str | Path) -> Any:
    """The configuration, of one tower or of two, without weights: see `load` for the name."""
    if is_adapters(Path(name)):
        return config_with_adapters(Path(name), config_of(base_of(Path(name))))
    if _is_folder(Path(name)):
        return read_config(name)
    if str(name) in preset_names():
        return config_from(load_preset(str(name))["model"])
    if (folder := hub.find(str(name), hub.CONFIG)) is not None:
        return read_config(folder)
    raise _unknown(str(name))


def _load_adapted(
    folder: Path, dtype: torch.dtype | None, device: str | torch.device | None
) -> tuple[Any, Tokenizer | None]:
    """The model that a folder's adapters are for, with them, in the wider dtype of the two.

    The tokenizer is the folder's own, where it has one, else the model's.
    """
    name = base_of(folder)
    base, tokenizer = load(name, device=device)
    refuse_two(base.config)
    model = read_adapters(folder, base)
    if tokenizer_files.holds_tokenizer(folder):
        tokenizer = Tokenizer.load(folder, blanks=not model.config.causal)
        refuse_larger_vocabulary(tokenizer, model.config, str(folder), name)
    model.folder_settings, model.tokenizer = replace(base.folder_settings, base=name), tokenizer
    return (model if dtype is None else model.to(dtype)), tokenizer


def _is_folder(path: Path) -> bool:
    """Whether a folder is meant; one that merely has a preset's name is in nobody's way."""
    return path.is_dir() and (str(path) not in preset_names() or (path / "config.json").exists())


def _unknown(name: str) -> GlassformerError:
    if re.fullmatch(r"(?i)gpt-?4.*", name):
        return GlassformerError(
            f"the size of {name} is not published: GPT-4's report (OpenAI 2023, section 2) leaves"
            " it out, so there is nothing to count or load; gpt3 is the largest with known sizes"
        )
    folders = (str(path.parent) for path in islice(Path().glob("*/*/config.json"), MOST_FOLDERS))
    return GlassformerError(
        f"there is no folder and no preset {name!r}."
        f"{did_you_mean(name, [*preset_names(), *folders])}"
        f" Presets: {', '.join(preset_names())}; hf:OWNER/NAME is a model on the Hugging Face hub."
    )


def _load_preset(
    name: str, dtype: torch.dtype | None, device: str | torch.device | None
) -> tuple[Any, Tokenizer | None]:
    model = build_preset(name, dtype or torch.float32).to(device or "cpu")
    model.tokenizer = _tokenizer_of_preset(name)
    return model.eval(), model.tokenizer


def _tokenizer_of_preset(name: str) -> Tokenizer | None:
    words = _words(name)
    if "vocabulary" not in words:
        return None
    return Tokenizer.from_words(words["vocabulary"], lowercase=words.get("lowercase", False))
