"""An address is the same in Python, on the command line, in a URL and in a notebook."""

from urllib.parse import quote, unquote

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer import GlassformerError
from glassformer.trace import Address
from glassformer.trace.address import KINDS
from tests.model.variety import config_of, random_ids, random_model, random_targets

# beartype picks random items to check, which hypothesis notices while it draws addresses
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
NAMES = st.lists(st.one_of(WORDS, st.integers(0, 99).map(str)), max_size=3).flatmap(
    lambda parts: WORDS.map(lambda first: ".".join([first, *parts]))
)
COUNT = st.none() | st.integers(0, 10**9)
ADDRESSES = st.builds(
    Address,
    kind=st.sampled_from(list(KINDS)),
    name=NAMES,
    index=st.dictionaries(WORDS, st.integers(0, 10**6), max_size=4).map(lambda d: tuple(d.items())),
    step=COUNT,
    token=COUNT,
)


@given(ADDRESSES)
def test_an_address_written_as_text_reads_back_as_itself(address):
    assert Address.parse(str(address)) == address
    assert Address.parse(unquote(quote(str(address), safe=""))) == address


@pytest.mark.parametrize(
    "text",
    [
        "fwd/blocks.3.attn.attn_scores[head=7,query=5,key=2]",
        "blocks.3.attn.attn_scores[head=7,query=5,key=2]",
        "  blocks.3.attn.attn_scores [ head = 7 , query = 5, key=2, ] ",
        "/fwd/blocks.3.attn.attn_scores[head=7,query=5,key=2]",
    ],
)
def test_spaces_and_the_usual_kind_may_be_left_out_or_in(text):
    expected = Address("fwd", "blocks.3.attn.attn_scores", (("head", 7), ("query", 5), ("key", 2)))
    assert Address.parse(text) == expected


def test_a_training_step_and_a_generated_token_stand_in_front():
    address = Address.parse("@step=100 @token=3 bwd/logits[vocab=2]")
    assert (address.step, address.token, address.kind) == (100, 3, "bwd")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an address; write KIND/name"),
        ("fwd/", "is not an address"),
        ("a b", "is not an address"),
        ("x[head=1", "is not an address"),
        ("x[head]", r"'head' in 'x\[head\]' is not axis=index; write for example head=0"),
        ("x[head=-1]", "is not axis=index"),
        ("x[head=²]", "is not axis=index"),
        ("x[head=1,head=2]", "gives one axis twice"),
        ("foo/x", "unknown kind 'foo' .* kinds are fwd, bwd"),
    ],
)
def test_what_is_no_address_is_answered_with_how_to_write_one(text, message):
    with pytest.raises(GlassformerError, match=message):
        Address.parse(text)


@pytest.fixture(scope="module")
def trace():
    config = config_of("gpt2")
    model, ids = random_model(config, 1), random_ids(config, 1, batch=1)
    return model.watch(ids, random_targets(config, 1, ids))


def test_indices_pick_and_omitted_axes_of_length_one_fall_away(trace):
    pattern = trace["blocks.0.attn.pattern"]
    assert pattern.shape == (3, 7, 7)  # head, query, key: one text only
    assert torch.equal(trace["blocks.0.attn.pattern[head=1]"], pattern[1])
    assert torch.equal(trace["blocks.0.attn.pattern[key=2,head=1]"], pattern[1, :, 2])
    assert trace["blocks.0.attn.pattern[head=1,query=3,key=2]"] == pattern[1, 3, 2]
    assert trace["loss"].shape == ()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("blocks.0.attn.patern", r"Did you mean 'fwd/blocks.0.attn.pattern'\?"),
        ("blocks.0.attn_out", r"Did you mean 'fwd/blocks.0.attn.attn_out'\?"),
        ("embed.W_E", r"Did you mean 'weight/embed.W_E'\?"),
        ("ids", r"Did you mean 'token/ids'\?"),
        ("weight/embed.w_e", r"Did you mean 'weight/embed.W_E'\?"),
        ("blocks.7.attn.pattern", r"Did you mean 'fwd/blocks.\d.attn.pattern'\?"),
        ("logits[head=0]", "fwd/logits has no axis 'head'; its axes are batch, pos, vocab"),
        ("loss[pos=0]", "fwd/loss has no axis 'pos'; its axes are none: it is one number"),
        ("logits[pos=7]", "pos=7 is outside fwd/logits; pos goes from 0 to 6"),
    ],
)
def test_an_unknown_address_is_answered_with_the_nearest(trace, address, message):
    with pytest.raises(GlassformerError, match=message):
        trace[address]
    with pytest.raises(GlassformerError, match=message):
        trace.explain(address)


def test_explaining_more_than_one_number_asks_for_the_other_indices(trace):
    message = (
        r"not one number; also give query \(0 to 6\), key \(0 to 6\),"
        r" for example fwd/blocks.0.attn.pattern\[batch=0,head=2,query=0,key=0\]"
    )
    with pytest.raises(GlassformerError, match=message):
        trace.explain("blocks.0.attn.pattern[head=2]")
