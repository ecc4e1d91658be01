"""Encoders and encoder-decoders of other programs are trained further and stay what they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from glassformer.interop.folder import load_folder
from glassformer.text import storyland
from glassformer.text.tokenizer import Tokenizer
from glassformer.training import translation
from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.prepare import Prepared, new_run, resumed_run
from glassformer.training.translation import translation_tokenizer

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = {
    "d_model": 16,
    "max_position_embeddings": 32,
    "decoder_start_token_id": 1,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 20,
    "forced_eos_token_id": 2,
}
BERT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "marian": {**IDS, **BART},
    "bart": {**IDS, **BART},
    "t5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 1,
        "num_heads": 2,
        "n_positions": 32,
        "decoder_start_token_id": 0,
        "feed_forward_proj": "gated-gelu",
    },
    "bert": BERT,
    "roberta": {**BERT, "pad_token_id": 1, "max_position_embeddings": 42},
    "modernbert": {**BERT, "local_attention": 8, "global_attn_every_n_layers": 2},
}
SHORT = {"steps": 4, "batch_size": 16, "warmup_steps": 1, "eval_every": 4, "save_every": 2}


@pytest.fixture(scope="module", autouse=True)
def few_held_out() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation, "HELD_OUT", 60)  # pairs, so that few have to be drawn
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "stories.txt"
    file.write_text("\n".join(islice(storyland.texts("further"), 200)))
    return file


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=() if f in ("t5", "bert") else pytest.mark.heavy) for f in SETTINGS],
)
def test_a_folder_of_another_program_is_trained_resumed_bit_for_bit_and_written_as_its_family(
    family: str, text: Path, tmp_path: Path
):
    translates = family in ("marian", "bart", "t5")
    opener: Any = AutoModelForSeq2SeqLM if translates else AutoModelForMaskedLM
    tokenizer = (
        translation_tokenizer("french") if translates else Tokenizer.of_masked_words(text.open())
    )
    theirs = tmp_path / family
    config = AutoConfig.for_model(family, vocab_size=tokenizer.vocab_size, **SETTINGS[family])
    torch.manual_seed(0)
    opener.from_config(config).save_pretrained(theirs)
    tokenizer.save(theirs)
    corpus: dict[str, Any] = {"preset": "translation"} if translates else {"texts": (str(text),)}
    choices = Choices(start_from=str(theirs), recipe=SHORT, **corpus)

    stopped, straight = tmp_path / "stopped", tmp_path / "whole"

    def train_on(prepared: Prepared, last: int) -> None:
        stops = iter([*[False] * last, True])
        with prepared.run:
            go = partial(train, prepared.model, prepared.data, prepared.recipe, run=prepared.run)
            assert go(should_stop=lambda: next(stops)).step == last

    begun = new_run(stopped, choices)
    shutil.copytree(stopped, straight)
    train_on(begun, 3)
    train_on(resumed_run(stopped), 4)
    train_on(resumed_run(straight), 4)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (stopped, straight)]
    assert weights[0] == weights[1]
    saved = json.loads((straight / "config.json").read_text())
    assert saved["model_type"] == family
    for name, value in SETTINGS[family].items():
        assert saved.get(name, value) == value, name
    opened, info = opener.from_pretrained(straight, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours, _ = load_folder(straight)
    ids = torch.tensor([[3, 5, 7, 9]])
    more = {"decoder_input_ids": ids} if translates else {}
    inputs = {"source": ids} if translates else {}
    with torch.no_grad():
        logits = opened.eval()(ids, **more).logits
        # fp32: sums in another order
        torch.testing.assert_close(ours(ids, **inputs), logits, rtol=1e-4, atol=1e-5)
