"""A small tokenizer.json of every kind that families have, put together as theirs are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = [
    "the cat sat on the mat, and the dog sat on the cat. It's 2026, isn't it?\n\n  def f(x):\n\t",
    "日本語の猫 é naïve über Привет мир שלום 🐈 <html> 1234567 ... don't DON'T\r\n    x = 10",
] * 4
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
NEMO = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Step = pre_tokenizers.PreTokenizer


def byte_level(
    split: Step,
    eos: str = "<|endoftext|>",
    *,
    bos: str = "",
    normalizer: Any = None,
    added: tuple[AddedToken, ...] = (),
    ignore_merges: bool = False,
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """Byte-level BPE; `bos` stands before every text."""
    engine = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    engine.pre_tokenizer, engine.decoder = split, decoders.ByteLevel()
    if normalizer is not None:
        engine.normalizer = normalizer
    special = [token for token in (eos, bos) if token]
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(CORPUS, trainer)
    for token in added:
        (engine.add_special_tokens if token.special else engine.add_tokens)([token])
    named: dict[str, Any] = {"eos_token": eos}
    if bos:
        named["bos_token"] = bos
        _begin(engine, bos, [processors.ByteLevel(trim_offsets=False)])
    return engine, named


def sentence_pieces(
    normalizer: Any,
    split: Step | None,
    added: tuple[AddedToken, ...] = (),
    *,
    strips: bool = True,
    bos: str = "<s>",
    eos: str = "</s>",
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """BPE over characters with ▁ for a space, and the 256 bytes for characters that it lacks."""
    learned = tokenizers.Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", "▁")
    learned.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁]+"), "isolated")
    words = ["".join(c for c in text if c not in "🐈\t\r") for text in CORPUS]
    learned.train_from_iterator(words, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    names = ["<unk>", bos, eos, *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    merges = [(left, right) for left, right in model["merges"]]
    bpe = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    engine = tokenizers.Tokenizer(bpe)
    if normalizer is not None:
        engine.normalizer = normalizer
    if split is not None:
        engine.pre_tokenizer = split
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    engine.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] * strips)])
    special = [AddedToken(n, normalized=False, special=True) for n in ("<unk>", bos, eos)]
    engine.add_special_tokens(special)
    for token in added:
        (engine.add_special_tokens if token.special else engine.add_tokens)([token])
    _begin(engine, bos, [])
    return engine, {"bos_token": bos, "eos_token": eos, "unk_token": "<unk>"}


def _begin(engine: tokenizers.Tokenizer, bos: str, before: list[Any]) -> None:
    template = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, engine.token_to_id(bos))],
    )
    engine.post_processor = processors.Sequence([*before, template])


def split_by(pattern: str) -> Step:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)
SPACES = tuple(AddedToken(" " * n, normalized=True) for n in range(8, 1, -1))
PREPENDED = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
END = AddedToken("<|end|>", rstrip=True, normalized=False, special=True)
CHAT = tuple(
    AddedToken(name, normalized=False, special=True) for name in ("<|im_start|>", "<|im_end|>")
)
TOOL = tuple(AddedToken(name, normalized=False) for name in ("<tool_call>", "<think>"))
LINES = tuple(AddedToken("\n" * n, normalized=False) for n in range(2, 5))

KINDS: dict[str, Callable[[], tuple[tokenizers.Tokenizer, dict[str, Any]]]] = {
    "gpt2, gpt_neo, gptj, granite": lambda: byte_level(GPT2),
    "opt": lambda: byte_level(GPT2, "</s>", bos="<s>"),
    "gpt_neox, olmo2, stablelm, phi": lambda: byte_level(
        GPT2, normalizer=normalizers.NFC(), added=SPACES
    ),
    "qwen2, qwen3": lambda: byte_level(
        split_by(QWEN), normalizer=normalizers.NFC(), added=CHAT + TOOL
    ),
    "llama 3, smollm3, olmo3": lambda: byte_level(
        split_by(LLAMA3), "<|end_of_text|>", bos="<|begin_of_text|>", ignore_merges=True
    ),
    "smollm2": lambda: byte_level(pre_tokenizers.Sequence([DIGITS, GPT2]), added=CHAT),
    "falcon": lambda: byte_level(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Punctuation("contiguous"),
                GPT2,
                DIGITS,
                pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
            ]
        )
    ),
    "bloom": lambda: byte_level(split_by(BLOOM), "</s>"),
    "apertus, mistral nemo": lambda: byte_level(split_by(NEMO), "</s>", bos="<s>"),
    "nanochat": lambda: byte_level(split_by(LLAMA3.replace("{1,3}", "{1,2}")), "<|bos|>"),
    "llama 2, mistral": lambda: sentence_pieces(PREPENDED, None),
    "phi3": lambda: sentence_pieces(PREPENDED, None, (END, AddedToken("</s2>", rstrip=True))),
    "llama 2 of today": lambda: sentence_pieces(
        None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    ),
    "gemma": lambda: sentence_pieces(
        normalizers.Replace(" ", "▁"),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        (*LINES, AddedToken("<start_of_turn>", normalized=False, special=True)),
        strips=False,
        bos="<bos>",
        eos="<eos>",
    ),
}


def write(kind: str, folder: Path, **config: Any) -> Path:
    """A folder with a tokenizer of this kind; `config`: more of its tokenizer_config.json."""
    engine, named = KINDS[kind]()
    folder.mkdir(parents=True, exist_ok=True)
    engine.save(str(folder / "tokenizer.json"))
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        **named,
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder
