"""Texts that encoder-decoders write are those of `transformers`, with a cache and without."""

import json

import pytest
import torch

import glassformer as gf
from glassformer.errors import GlassformerError
from glassformer.interop.folder import load_folder
from tests.model.towers import random_towers
from tests.parity.families import TOWERS, InDouble, their_model

PAD, END, OTHER_END = 60, 5, 9
FORCED = {
    "marian": {"forced_eos_token_id": END, "bad_words_ids": [[PAD]]},
    "bart": {"forced_bos_token_id": 7, "forced_eos_token_id": END},
    "t5": {},
}


def sources() -> torch.Tensor:
    """Four sources, two of them padded."""
    source = torch.randint(1, END * 11, (4, 9), generator=torch.Generator().manual_seed(1))
    source[1, 6:], source[2, 3:] = PAD, PAD
    return source


def until_its_end(row: list[int]) -> list[int]:
    ends = [i for i, token in enumerate(row) if token in (END, OTHER_END)]
    return row[: ends[0] + 1] if ends else row


@pytest.mark.parametrize("family", TOWERS)
def test_greedy_translations_are_the_same(family, tmp_path):
    """Alone and in a batch; two tokens end a text, some are forced and one is never chosen."""
    theirs = their_model(family, TOWERS[family][-1])
    wanted = {"decoder_start_token_id": PAD, "pad_token_id": PAD, "eos_token_id": [END, OTHER_END]}
    for name, value in {**wanted, **FORCED[family]}.items():
        setattr(theirs.generation_config, name, value)
    theirs.save_pretrained(tmp_path)
    ours, _ = load_folder(tmp_path)
    source = sources()
    with InDouble():
        rows = theirs.generate(
            source, attention_mask=(source != PAD).long(), max_new_tokens=12, num_beams=1
        )
    expected = [until_its_end(row[1:]) for row in rows.tolist()]
    asked = {"temperature": 0, "max_new_tokens": 12, "stop_ids": (END, OTHER_END)}
    for use_cache in (True, False):
        texts = gf.generate_batch(ours, sources=source, use_cache=use_cache, **asked)
        assert [text.chosen for text in texts] == expected
    alone = gf.generate(ours, source=source[1, :6], **asked)
    list(alone)
    assert alone.chosen == expected[1]
    gf.save(ours, None, tmp_path / "again")
    said = [(f / "generation_config.json").read_text() for f in (tmp_path, tmp_path / "again")]
    assert json.loads(said[0]) == json.loads(said[1])


@pytest.mark.parametrize("name", ["like marian", "like t5", "apart"])
def test_a_drawn_translation_is_the_same_with_a_cache_and_without(name):
    model = random_towers(name)
    source = torch.tensor([[1, 2, 3]])
    texts = [list(gf.generate(model, source=source, seed=3, use_cache=c)) for c in (True, False)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == model.config.n_ctx


def test_a_model_that_was_trained_meanwhile_is_not_gone_on_with():
    model = random_towers("like marian")
    text = gf.generate(model, source=[1, 2, 3], seed=0)
    next(text)
    with torch.no_grad():
        model.encoder.embed.W_E.add_(1)
    with pytest.raises(GlassformerError, match="changed while a text was coming"):
        next(text)


def test_a_source_is_asked_of_two_towers_and_of_nobody_else():
    with pytest.raises(GlassformerError, match="give source="):
        gf.generate(random_towers("like marian"), [1])
    decoder, _ = gf.load("worked_example")
    with pytest.raises(GlassformerError, match="has no source"):
        gf.generate(decoder, [1], source=[1])
    with pytest.raises(GlassformerError, match="give it some ids"):
        gf.generate(decoder)


def test_files_that_begin_a_translation_with_different_tokens_are_refused(tmp_path):
    gf.save(random_towers("like marian"), None, tmp_path)
    generation = tmp_path / "generation_config.json"
    generation.write_text(json.dumps({"decoder_start_token_id": 3}))
    with pytest.raises(GlassformerError, match=r"=3, and config\.json begins a target with 10"):
        load_folder(tmp_path)
    generation.write_text(json.dumps({"decoder_start_token_id": 10}))
    load_folder(tmp_path)
