"""The files of a tokenizer's folder: read as `transformers` does, and written back as read."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from glassformer.errors import GlassformerError, GlassformerWarning
from glassformer.files import write_atomically
from glassformer.jsons import parse_object

CONFIG = "tokenizer_config.json"
# text that is passed on as it is
KEPT = ("special_tokens_map.json", "chat_template.jinja", "additional_chat_templates/*.jinja")
USUAL_EOS = ("<eos>", "<|endoftext|>", "</s>", "<|end_of_text|>", "[SEP]")
USUAL_MASK = ("[MASK]", "<mask>")
BYTE_LEVEL = (None, "GPT2Tokenizer", "GPT2TokenizerFast")  # whose vocab.json is spelled in bytes


@dataclass(frozen=True)
class ExtraFiles:
    """What a folder holds beside the vocabulary; `config` is its tokenizer_config.json."""

    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer that can be read."""
    return (folder / "tokenizer.json").is_file() or (
        (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    )


def vocabulary_file(folder: Path) -> Path:
    """The file with the vocabulary of a folder that holds a tokenizer."""
    file = folder / "tokenizer.json"
    return file if file.is_file() else folder / "vocab.json"


def read(path: Path) -> tuple[tokenizers.Tokenizer, ExtraFiles]:
    """The engine of a folder, or of a tokenizer.json itself, and what stands beside it."""
    folder = path if path.is_dir() else path.parent
    extra_files = ExtraFiles(
        _object(folder / CONFIG),
        {
            str(file.relative_to(folder)): _text(file)
            for kept in KEPT
            for file in sorted(folder.glob(kept))
            if file.is_file()
        },
    )
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file() and path.is_dir() and holds_tokenizer(path):
        return _from_vocabulary_and_merges(path, extra_files), extra_files
    if not file.is_file():
        raise GlassformerError(
            f"there is no {file}; give a folder that holds a tokenizer.json, or vocab.json and"
            " merges.txt, or such a file itself"
        )
    try:
        return tokenizers.Tokenizer.from_str(file.read_text("utf-8")), extra_files
    except Exception as error:  # the engine raises plain Exceptions
        raise GlassformerError(
            f"{file} is not a tokenizer.json that this version of tokenizers reads: {error}"
        ) from error


def named(extra_files: ExtraFiles, engine: tokenizers.Tokenizer, role: str) -> str | None:
    """The token that the folder names for a role, such as eos_token; None if it names none."""
    content = extra_files.config
    if role not in content and "special_tokens_map.json" in extra_files.files:
        content = _parsed("special_tokens_map.json", extra_files.files["special_tokens_map.json"])
    token = content.get(role)
    token = token.get("content") if isinstance(token, dict) else token
    if token is not None and (not isinstance(token, str) or engine.token_to_id(token) is None):
        raise GlassformerError(
            f"{CONFIG} names {token!r} as {role} and tokenizer.json has no such token; the two"
            " files belong to different tokenizers"
        )
    return token


def chat_template(extra_files: ExtraFiles) -> str | None:
    """The template of chats, in a file or in tokenizer_config.json; of several the default one.

    >>> templates = [{"name": "default", "template": "{{ chat }}"}]
    >>> chat_template(ExtraFiles({"chat_template": templates}))
    '{{ chat }}'
    """
    template: Any = extra_files.files.get(
        "chat_template.jinja", extra_files.config.get("chat_template")
    )
    if isinstance(template, list):
        named = [one for one in template if isinstance(one, dict) and one.get("name") == "default"]
        template = named[0].get("template") if named else None
    return template if isinstance(template, str) else None


def usual_eos(engine: tokenizers.Tokenizer) -> str | None:
    """A usual name of the token between documents, if the vocabulary has one."""
    return next((name for name in USUAL_EOS if engine.token_to_id(name) is not None), None)


def begin_ids(post_processor: dict[str, Any] | None) -> list[int]:
    """The special tokens that a tokenizer.json's template puts before every text, as <s>.

    >>> begin_ids({"type": "BertProcessing", "sep": ["</s>", 0], "cls": ["<s>", 1]})
    [1]
    """
    kind = (post_processor or {}).get("type")
    if post_processor is None or kind == "ByteLevel":
        return []
    if kind == "Sequence":
        parts = (begin_ids(part) for part in post_processor["processors"])
        return [token_id for part in parts for token_id in part]
    if kind != "TemplateProcessing":
        return [post_processor["cls"][1]]
    result: list[int] = []
    for piece in post_processor["single"]:
        if "SpecialToken" not in piece:
            break
        result += post_processor["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
    return result


class SwitchedOff:
    """What a tokenizer.json asks for that would cut a text off, or encode it in two ways.

    Truncation, padding and BPE dropout are switched off in the engine, and written back.
    """

    def __init__(self, engine: tokenizers.Tokenizer) -> None:
        self.padding_settings: dict[str, Any] = {}
        dropout = getattr(engine.model, "dropout", None)
        if engine.truncation or engine.padding or dropout:
            content = json.loads(engine.to_str())
            self.padding_settings = {name: content[name] for name in ("truncation", "padding")}
            self.dropout = content["model"].get("dropout")
        if dropout:
            warnings.warn(
                f"the tokenizer has a BPE dropout of {dropout:g}, with which one text has other"
                " tokens each time; it is switched off",
                GlassformerWarning,
                stacklevel=4,
            )
            engine.model.dropout = None
        if getattr(engine.model, "nbest_size", None) is not None:
            engine.model.nbest_size = engine.model.alpha = None  # Unigram's way to draw
        engine.no_truncation()
        engine.no_padding()

    def content(self, engine: tokenizers.Tokenizer) -> str:
        """The tokenizer.json as it was read."""
        if not self.padding_settings:
            return engine.to_str(pretty=True)
        content = {**json.loads(engine.to_str()), **self.padding_settings}
        if self.dropout is not None:
            content["model"]["dropout"] = self.dropout
        return json.dumps(content, indent=2, ensure_ascii=False)


def write(folder: Path, engine: str, config: dict[str, Any], extra_files: ExtraFiles) -> None:
    """Write a tokenizer's files; `config` where the folder it came from had none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "tokenizer.json", engine)
    write_atomically(folder / CONFIG, json.dumps(extra_files.config or config, indent=2))
    for name, text in extra_files.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomically(folder / name, text)


def _from_vocabulary_and_merges(folder: Path, extra_files: ExtraFiles) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE from the two files that were usual before tokenizer.json."""
    kind = extra_files.config.get("tokenizer_class")
    if kind not in BYTE_LEVEL:
        raise GlassformerError(
            f"{folder} has vocab.json and merges.txt of a {kind} and no tokenizer.json; make one"
            " with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    try:
        model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the engine raises plain Exceptions
        raise GlassformerError(
            f"vocab.json and merges.txt in {folder} are no vocabulary of a BPE: {error}; copy them"
            " again"
        ) from error
    engine = tokenizers.Tokenizer(model)
    space = extra_files.config.get("add_prefix_space") is True
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    engine.decoder = decoders.ByteLevel()
    _add_tokens(engine, folder, extra_files)
    bos = named(extra_files, engine, "bos_token")
    if extra_files.config.get("add_bos_token") is True and bos is not None:
        engine.post_processor = processors.TemplateProcessing(
            single=f"{bos}:0 $A:0", special_tokens=[(bos, engine.token_to_id(bos))]
        )
    return engine


def _add_tokens(engine: tokenizers.Tokenizer, folder: Path, extra_files: ExtraFiles) -> None:
    """Add the tokens beside the merges, each under the id that the files give it."""
    special = {"<|endoftext|>"} & set(engine.get_vocab())
    for content in (
        _parsed("special_tokens_map.json", extra_files.files.get("special_tokens_map.json", "{}")),
        extra_files.config,
    ):
        for role in ("bos_token", "eos_token", "unk_token", "pad_token"):
            token = content.get(role)
            token = token.get("content") if isinstance(token, dict) else token
            special |= {token} if isinstance(token, str) else set()
    added: dict[str, Any] = dict(_object(folder / "added_tokens.json"))
    for token_id, token in dict(extra_files.config.get("added_tokens_decoder") or {}).items():
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            added[token["content"]] = int(token_id) if str(token_id).isdigit() else token_id
            special |= {token["content"]} if token.get("special") else set()
    for name in sorted(added, key=lambda name: str(added[name]).zfill(12)):
        plain = AddedToken(name, normalized=False, special=name in special)
        engine.add_special_tokens([plain]) if name in special else engine.add_tokens([plain])
        if engine.token_to_id(name) != added[name]:
            raise GlassformerError(
                f"{folder}: the added token {name!r} has id {added[name]!r} and would be"
                f" {engine.token_to_id(name)} after vocab.json; copy the folder's files again"
            )
    engine.add_special_tokens(
        [AddedToken(n, normalized=False, special=True) for n in sorted(special - set(added))]
    )


def _object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; {} where there is no such file."""
    return _parsed(str(file), _text(file)) if file.is_file() else {}


def _parsed(name: str, text: str) -> dict[str, Any]:
    return parse_object(text.encode(), Path(name), "save the tokenizer again")


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise GlassformerError(f"{file} is no UTF-8 text: {error}; copy it again") from error
