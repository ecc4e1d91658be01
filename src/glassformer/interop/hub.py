"""Models on the Hugging Face hub, by OWNER/NAME; only text and safetensors are fetched."""

from __future__ import annotations

import re
from pathlib import Path

from glassformer.errors import GlassformerError

FILES = [
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "source.spm",
    "target.spm",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]
CONFIG = ["config.json"]
"""What a model's sizes need."""

PREFIX = "hf:"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find(name: str, files: list[str] = FILES) -> Path | None:
    """The local folder of a hub model: a cached one by its name, any as ``hf:OWNER/NAME``.

    The network is asked only for a name that begins with ``hf:``, and only for what is not cached.
    None where the name is neither.

    >>> find("runz/demo") is None, find("gpt2") is None, find("./runs/story") is None
    (True, True, True)
    """
    plain = name.removeprefix(PREFIX)
    if not _NAME.fullmatch(plain):
        if name.startswith(PREFIX):
            raise GlassformerError(
                f"{name!r} is no name of a hub model; write {PREFIX}OWNER/NAME, for example"
                f" {PREFIX}openai-community/gpt2"
            )
        return None
    return _cached(plain, files) or (_download(plain, files) if plain != name else None)


def _cached(name: str, files: list[str]) -> Path | None:
    """Where the hub's library keeps all of these files of a model, if it does."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        return None
    try:
        folder = Path(
            huggingface_hub.snapshot_download(name, allow_patterns=files, local_files_only=True)
        )
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        return None
    needed = ["config.json"] if files == CONFIG else ["config.json", "*.safetensors"]
    return folder if all(any(folder.glob(pattern)) for pattern in needed) else None


def _download(name: str, files: list[str]) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise GlassformerError(
            f"to fetch {name!r} from the Hugging Face hub install the extra:"
            " pip install 'glassformer[hub]'"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=files))
    except errors.RepositoryNotFoundError as error:
        raise GlassformerError(
            f"the Hugging Face hub has no public model {name!r}; check the spelling"
        ) from error
    except Exception as error:
        raise GlassformerError(
            f"{name!r} is not in the local cache, and the Hugging Face hub can't be reached"
            f" ({_reason(error)}); on a machine that reaches it run `hf download"
            f" {name} --local-dir FOLDER`, copy FOLDER here and give its path"
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of a library's message, which may run over many lines."""
    sentence = re.split(r"[.:]?\s*\n|\. ", str(error).strip())[0]
    return sentence or type(error).__name__
