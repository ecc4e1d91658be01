"""The cache: the same logits as without it, for texts of any lengths."""

import pytest
import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.generation.cache import Cache
from glassformer.model import Decoder
from tests.generation.models import TINY, speaking, various

DTYPES = [torch.float32, torch.float64]


def largest_gap(model: Decoder, ids: Tensor, pieces: list[int]) -> float:
    """How far cached logits are from uncached ones, in units of roundoff of the largest logit."""
    cache = Cache(model.config, dtype=model.embed.W_E.dtype)
    with torch.no_grad():
        uncached = model(ids)
        cached = torch.cat([model(piece, cache=cache) for piece in ids.split(pieces, 1)], 1)
    eps = torch.finfo(uncached.dtype).eps
    return float((uncached - cached).abs().max() / uncached.abs().max() / eps)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_cached_logits_are_the_uncached_ones_at_every_length(seed, dtype):
    model = various(seed).to(dtype)
    n = model.config.n_ctx
    ids = torch.randint(model.config.vocab_size, (1, n))
    # products of other shapes sum in another order: 5 units are the most that 30 models showed
    assert largest_gap(model, ids, [1] * n) < 64
    assert largest_gap(model, ids, [3, 1, 2, n - 6]) < 64


def test_texts_of_different_lengths_share_a_cache_and_never_see_each_other():
    model = speaking(TINY)
    texts = [[5, 6, 7], [1, 2, 3, 4, 9, 9, 8], [30]]
    lengths = [len(text) for text in texts]
    cache = Cache(model.config, lengths, dtype=torch.float64)
    padded = torch.tensor([text + [0] * (max(lengths) - len(text)) for text in texts])
    with torch.no_grad():
        model(padded, cache=cache)
        for _ in range(5):
            new = torch.randint(TINY.vocab_size, (3, 1))
            texts = [[*text, int(token)] for text, token in zip(texts, new, strict=True)]
            together = model(new, cache=cache)
            for row, text in enumerate(texts):
                alone = model(torch.tensor([text]))[0, -1]
                torch.testing.assert_close(together[row, -1], alone, rtol=1e-12, atol=1e-12)
        cache.keep([2, 0])
        texts = [texts[2], texts[0]]
        new = torch.tensor([[11], [12]])
        together = model(new, cache=cache)
        for row, text in enumerate(texts):
            alone = model(torch.tensor([[*text, int(new[row])]]))[0, -1]
            torch.testing.assert_close(together[row, -1], alone, rtol=1e-12, atol=1e-12)


def test_what_a_cache_hands_out_are_views_of_buffers_made_once():
    cache = Cache(TINY, dtype=torch.float64)
    before = cache.keys.data_ptr()
    k = torch.randn(1, 3, TINY.n_heads, TINY.d_head, dtype=torch.float64)
    keys, _ = cache.extend(0, k, k)
    cache.advance(3)
    assert keys.data_ptr() == before == cache.keys.data_ptr()
    assert torch.equal(keys, k)
    assert cache.length == 3


def test_a_text_longer_than_the_cache_is_refused_with_both_numbers():
    model = speaking(TINY)
    cache = Cache(TINY, capacity=4, dtype=torch.float64)
    with pytest.raises(GlassformerError, match="5 tokens do not fit a cache of 4 positions"):
        model(torch.tensor([[1, 2, 3, 4, 5]]), cache=cache)
