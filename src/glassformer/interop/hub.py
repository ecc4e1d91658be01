"""Models on the Hugging Face hub, by OWNER/NAME; only JSON and safetensors files are fetched."""

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
]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_name(name: str) -> bool:
    """Whether this can only be meant as a hub's OWNER/NAME, and not as a mistyped folder.

    >>> is_name("openai-community/gpt2"), is_name("gpt2"), is_name("./runs/story")
    (True, False, False)
    """
    owner = name.partition("/")[0]
    return _NAME.fullmatch(name) is not None and owner != "runs" and not Path(owner).exists()


def download(name: str) -> Path:
    """The local folder of a hub model: from the cache if it is there, else fetched once."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise GlassformerError(
            f"there is no folder {name!r}; to fetch it from the Hugging Face hub install the extra:"
            " pip install 'glassformer[hub]'"
        ) from None
    try:
        cached = Path(
            huggingface_hub.snapshot_download(name, allow_patterns=FILES, local_files_only=True)
        )
        if (cached / "config.json").is_file() and any(cached.glob("*.safetensors")):
            return cached
    except errors.LocalEntryNotFoundError:
        pass
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=FILES))
    except errors.RepositoryNotFoundError as error:
        raise GlassformerError(
            f"there is no folder {name!r}, and the Hugging Face hub has no public model of that"
            " name; check the spelling"
        ) from error
    except Exception as error:
        raise GlassformerError(
            f"there is no folder {name!r}, it is not in the local cache, and the Hugging Face hub"
            f" can't be reached ({_reason(error)}); on a machine that reaches it run `hf download"
            f" {name} --local-dir FOLDER`, copy FOLDER here and give its path"
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of a library's message, which may run over many lines."""
    sentence = re.split(r"[.:]?\s*\n|\. ", str(error).strip())[0]
    return sentence or type(error).__name__
