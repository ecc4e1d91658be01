"""A translator's folder in transformers: the same tokens of a sentence, and the same words."""

from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from glassformer.interop.folder import save
from glassformer.model import EncoderDecoder, load_preset
from glassformer.training.translation import (
    TO_TRANSLATE,
    greedy,
    towers_of,
    translation_tokenizer,
)
from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)


def test_transformers_reads_the_preset_as_marian_and_writes_the_same_greedy_words(tmp_path: Path):
    tokenizer = translation_tokenizer("french")
    sizes = {"d_model": 16, "n_layers": 1, "n_heads": 2}
    config = towers_of(load_preset("translation")["model"], sizes, tokenizer)
    model = EncoderDecoder(config, torch.Generator().manual_seed(0)).eval()
    save(model, tokenizer, tmp_path)
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert theirs.config.model_type == "marian"
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for sentence in TO_TRANSLATE:
        ids = their_tokenizer(sentence)["input_ids"]
        assert ids == tokenizer.encode_source(sentence)
        source = torch.tensor([ids])
        [ours] = greedy(model, source, tokenizer.eos_id)
        [written] = theirs.generate(source, max_new_tokens=12, num_beams=1, do_sample=False)
        assert written[1:13].tolist() == [*ours, tokenizer.eos_id][:12]
