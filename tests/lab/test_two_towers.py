"""The lab from Python on two towers: a sentence is the source, its translation is what is asked."""

import pytest
import torch

import glassformer as gf
from glassformer.interop.open import name_of
from glassformer.lab.lost_words import lost_words
from glassformer.training.translation import translated


@pytest.fixture(scope="module")
def model() -> gf.EncoderDecoder:
    """Two towers with random weights that know a few words."""
    tokenizer = gf.Tokenizer.of_sentences(["the cat sleeps .", "le chat dort ."])
    tower = gf.Config(
        vocab_size=tokenizer.vocab_size, n_ctx=9, d_model=8, n_layers=2, n_heads=2, init_std=0.5
    )
    config = gf.TowersConfig(encoder=tower.replace(causal=False), decoder=tower, start_id=1)
    made = gf.EncoderDecoder(config, torch.Generator().manual_seed(3)).eval()
    made.tokenizer = tokenizer
    return made


def test_what_is_switched_off_tells_what_becomes_of_every_written_word(model):
    assert model.tokenizer is not None
    compared = gf.lab.ablate(model, "the cat sleeps", heads=[(0, 1)], cross=[(1, 0)])
    assert compared.edit == {
        "fwd/decoder.blocks.0.attn.z[head=1]": 0.0,
        "fwd/decoder.blocks.1.cross_attn.z[head=0]": 0.0,
    }
    ids, targets, source = translated(model, model.tokenizer, "the cat sleeps")
    words = compared.written_words(looking=(1, 0))
    assert words == lost_words(model, ids, targets, source, compared.edit, (1, 0))
    assert any(word.before != word.after for word in words)
    assert compared.loss is not None
    mean = -torch.tensor([word.before for word in words]).log().mean()
    assert compared.loss[0] == pytest.approx(mean.item(), rel=1e-5)
    most = max(words, key=lambda word: abs(word.after - word.before))
    assert repr(model.tokenizer.shown(most.token)) in repr(compared)


def test_a_patched_word_of_the_source_reaches_the_translation(model):
    other = gf.lab.patch(
        model, "the cat sleeps", "encoder.blocks.1.resid_post", source="the the the"
    )
    source = gf.lab.lens(model, other.after)
    assert torch.equal(source[-1].probs, other.after["probs"])
    assert not torch.equal(other.before["probs"], other.after["probs"])


def test_the_lens_and_the_attribution_read_the_decoder(model):
    glimpses = gf.lab.lens(model, "the cat sleeps")
    assert all(glimpse.point.startswith("decoder.") for glimpse in glimpses)
    result = gf.lab.attribution(model, "the cat sleeps")
    assert result.total == pytest.approx(result.logit, abs=1e-5)


def test_what_two_towers_and_one_do_not_share_is_said(model):
    with pytest.raises(gf.GlassformerError, match="give the source as a text"):
        gf.lab.ablate(model, [1, 2], heads=[(0, 0)])
    one, _ = gf.load("worked_example")
    with pytest.raises(gf.GlassformerError, match="needs two towers"):
        gf.lab.ablate(one, "the cat", cross=[(0, 0)])
    with pytest.raises(gf.GlassformerError, match="writes no translation"):
        gf.lab.ablate(one, "the cat", heads=[(0, 0)]).written_words()


def test_a_model_in_place_of_its_name_is_told_what_it_has_itself(model):
    with pytest.raises(gf.GlassformerError, match=r"not by EncoderDecoder.*model\.watch"):
        name_of(model)  # what `load` and `watch` ask first
