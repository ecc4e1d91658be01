"""Models, tokenizers, traces and explanations pickle and copy, as torch modules do."""

import copy
import pickle  # noqa: TID251 (that it can be done is what is tested)
from typing import Any

import pytest
import torch
from torch import multiprocessing

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate
from glassformer.generation.packed import pack
from glassformer.model import Config, Decoder
from glassformer.server.record import watch
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import SILENT, Trace
from glassformer.training.recipe import Recipe

SIZES: dict[str, Any] = {"vocab_size": 11, "n_ctx": 8, "d_model": 8, "n_layers": 1, "n_heads": 2}
CHANGES: list[dict[str, Any]] = [
    {},
    {"tied": False, "head_bias": True},
    {"norm": "rms", "norm_bias": False, "qk_norm": True, "embed_norm": True},
]
IDS = torch.tensor([[1, 2, 3]])


def pickled(thing: Any) -> Any:
    """What another process gets, or a file that somebody keeps for himself."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 (it was made a moment ago)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "none"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_model_of_any_configuration_pickles_and_copies(position, changes):
    model = Decoder(Config(**SIZES, position=position, **changes)).eval()
    for copied in (pickled(model), copy.deepcopy(model)):
        assert torch.equal(copied(IDS), model(IDS))
        wide, wide_copy = copy.deepcopy(model).double(), copied.double()
        assert torch.equal(wide_copy(IDS), wide(IDS))  # fixed tables are computed afresh
        with torch.no_grad():
            copied.embed.W_E.zero_()  # a tied head is its own table, not the first model's
        assert bool((copied.unembed.weight(SILENT) == 0).all()) == model.config.tied


def answer(model: Decoder, queue: multiprocessing.Queue) -> None:
    queue.put(model(IDS).tolist())


@pytest.mark.heavy
def test_a_model_goes_to_another_process():
    model = Decoder(Config(**SIZES, position="rotary")).eval()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=answer, args=(model, queue))
    process.start()
    result = queue.get(timeout=300)
    process.join()
    torch.testing.assert_close(torch.tensor(result), model(IDS))


@pytest.mark.parametrize("kind", ["bpe", "chars", "words"])
def test_tokenizers_of_every_kind_pickle_and_copy_and_so_does_a_model_with_one(kind):
    tokenizer = Tokenizer.train(kind, ["the cat sat"])
    model = Decoder(Config(**{**SIZES, "vocab_size": tokenizer.vocab_size})).eval()
    model.tokenizer = tokenizer
    tokenizer.decode(tokenizer.encode("the cat"))  # what it keeps from then on goes along
    of_model = pickled(model).tokenizer
    for copied in (pickled(tokenizer), copy.deepcopy(tokenizer), of_model):
        assert copied.fingerprint == tokenizer.fingerprint
        assert copied.encode("the cat") == tokenizer.encode("the cat")
        assert copied.token_bytes(3) == tokenizer.token_bytes(3)


def test_recipes_and_configurations_pickle():
    for described in (Config(**SIZES), Recipe(steps=7)):
        assert pickled(described) == described


GRADIENT = "bwd/blocks.0.attn.q[pos=1,head=0,d_head=0]"


def test_a_copy_of_a_trace_explains_and_checks_every_kind_of_number_as_the_trace_does():
    trace = watch("miniature", "the cat sat on a", target="mat")
    for copied in (pickled(trace), copy.deepcopy(trace), copy.copy(trace)):
        assert list(copied) == list(trace)
        for address in ("loss", GRADIENT, "opt/unembed.b_U[vocab=4]"):
            assert str(copied.explain(address)) == str(trace.explain(address))
        checked, again = (one.explain(GRADIENT, check=True) for one in (trace, copied))
        assert checked.difference == again.difference
        assert copied.fused_gap() == trace.fused_gap()
        assert [*pickled(trace.grad)] == [*trace.grad]


def test_a_copy_of_a_trace_has_numbers_of_its_own_and_notices_a_weight_that_was_changed():
    model = Decoder(Config(**SIZES)).eval()
    trace = model.watch(IDS)
    copied = copy.deepcopy(trace)
    before = trace["weight/embed.W_E"].clone()
    with torch.no_grad():
        model.embed.W_E.add_(1)
    assert torch.equal(copied["weight/embed.W_E"], before)
    for late in (trace, copy.deepcopy(trace), pickled(trace)):
        with pytest.raises(GlassformerError, match="was changed after this trace was recorded"):
            late["weight/embed.W_E"]


def test_a_copy_of_a_saved_trace_reads_the_same_files(tmp_path):
    trace = Decoder(Config(**SIZES)).eval().watch(IDS)
    loaded = Trace.load(trace.save(tmp_path / "trace"))
    for copied in (pickled(loaded), copy.deepcopy(loaded)):
        assert torch.equal(copied["logits"], trace["logits"])
    kept = pickle.dumps(loaded)
    (tmp_path / "trace/values.safetensors").unlink()
    with pytest.raises(GlassformerError, match="holds no readable trace"):
        pickle.loads(kept)  # noqa: S301 (it was made a moment ago)


def test_an_explanation_that_was_looked_at_pickles_and_copies():
    explanation = watch("miniature", "the cat sat on a").explain("probs[pos=1,vocab=2]")
    shown = str(explanation), len(explanation.terms), explanation.operands
    for copied in (pickled(explanation), copy.deepcopy(explanation)):
        assert (str(copied), len(copied.terms), copied.operands) == shown


def test_a_packed_model_is_refused_in_words_and_one_that_has_written_is_copied():
    model = Decoder(Config(**SIZES)).eval()
    generate(model, IDS[0].tolist(), max_new_tokens=2)
    for copied in (pickled(model), copy.deepcopy(model)):
        assert torch.equal(copied(IDS), model(IDS))
    packed = pack(model)
    for how in (pickled, copy.deepcopy):
        with pytest.raises(GlassformerError, match="pack that again"):
            how(packed)


def test_a_trace_is_gone_through_by_the_names_of_its_values():
    trace = Decoder(Config(**SIZES)).eval().watch(IDS)
    assert "fwd/logits" in trace
    assert all(trace[path] is not None for path in trace)
    assert "fwd/logit" not in trace
