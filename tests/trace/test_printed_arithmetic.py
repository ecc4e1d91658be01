"""Whoever types a printed line into a calculator gets the printed result."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from glassformer.generation.sampling import Sampling
from glassformer.lab.logit_lens import logit_lens, record_guesses
from glassformer.model import Config
from glassformer.ops import ACTIVATIONS
from glassformer.ops.op import REGISTRY, Op
from glassformer.trace import Explanation, Trace
from glassformer.trace.address import Address
from glassformer.trace.node import GRADIENT, Node
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step, zero_moments
from glassformer.watch.choice import record_choice
from glassformer.watch.update import record_descent
from tests.calculator import gives, holds, last_digit
from tests.model.towers import TOWERS, random_pair, random_towers
from tests.model.variety import (
    SMALL,
    VARIETY,
    config_of,
    random_ids,
    random_inputs,
    random_model,
    random_targets,
)

SETTINGS = (
    Sampling(temperature=0.7, top_k=6, top_p=0.9, min_p=0.05, repetition_penalty=1.3),
    Sampling(temperature=0),
)
YARN = {"kind": "yarn", "factor": 2.0, "original_n_ctx": 8, "low": 1.0, "high": 2.0}
HEADS = {"n_heads": 4, "n_kv_heads": 2, "d_head": 4, "qk_norm": True, "position": "rotary"}
BESIDE = (  # what families have, in combinations that no other test needs
    HEADS | {"qk_norm_gain": True, "rotary_scaling": {"kind": "linear", "factor": 2.0}},
    HEADS | {"qk_norm_gain": True, "qk_norm_wide": True, "rotary_scaling": YARN},
    HEADS | {"qk_norm_gain": True, "qk_norm_wide": True, "norm_gain_from_one": True},
    HEADS | {"qk_norm_wide": True},
    HEADS | {"rotary_dims": 2},
)
UNRECORDED = {"last_window_mask"}  # of a new query beside cached keys: no trace has a cache
GRADIENTS = 12  # each of them has a formula of its own
# that no model of VARIETY has; no training step goes through a step
NEURONS = (("gpt2", "step"), *(("like mixtral", name) for name in ACTIVATIONS))
CHOOSING = ("gpt2", "rms", "no biases")


def traces(seed: int) -> Iterator[Trace]:
    """Training steps by every optimizer on every kind of model; choices, dropout, a lens, edits."""
    kinds = [*VARIETY.items(), *((str(number), more) for number, more in enumerate(BESIDE))]
    for number, (name, more) in enumerate(kinds):
        model = random_model(Config.from_dict({**SMALL, **more}), seed, torch.float32)
        ids = random_ids(model.config, seed)
        targets = random_targets(model.config, seed, ids)
        moments = {at: torch.rand_like(zero) for at, zero in zero_moments(model).items()}
        by = "muon" if number % 2 and model.config.lora is None else "adamw"
        recipe = Recipe(optimizer=by, clip=0.5)
        yield watch_step(model, ids, targets, recipe=recipe, moments=moments, lr=9.7e-4, t=2).trace
        for sampling in SETTINGS if name in CHOOSING else ():
            trace = model.watch(ids[:1])
            record_choice(trace, sampling, seed=seed, index=0)
            yield trace
    model = random_model(config_of("gpt2"), seed, torch.float32)
    ids = random_ids(model.config, seed)
    targets = random_targets(model.config, seed, ids)
    trace = model.watch(ids, targets, backward=True)
    record_descent(trace, model, lr=9.7e-2)
    yield trace
    model = random_model(config_of("gpt2").replace(dropout=0.3), seed, torch.float32)
    trace = model.watch(random_ids(model.config, seed, batch=1))
    logit_lens(model, trace)
    record_guesses(model, trace)
    yield trace
    yield model.train().watch(random_ids(model.config, seed))
    edit = {"blocks.0.attn.pattern[head=1,key=0]": 0.25, "blocks.1.resid_mid[pos=1]": -1.5}
    yield model.eval().watch(random_ids(model.config, seed), edit=edit)
    for name, neurons in NEURONS:
        model = random_model(config_of(name).replace(activation=neurons), seed, torch.float32)
        yield model.watch(random_ids(model.config, seed))
    yield of_preferences(seed)
    yield from of_encoders_towers_and_documents(seed)


def of_preferences(seed: int) -> Trace:
    """A training step on two pairs of replies."""
    model = random_model(config_of("gpt2"), seed, torch.float32)
    ids = random_ids(model.config, seed, batch=4)
    draw = torch.Generator().manual_seed(seed)
    targets = random_targets(model.config, seed, ids)
    reference = 5 + 20 * torch.rand(4, generator=draw)
    beta = torch.full((4,), 0.1)
    return watch_step(model, ids, targets, lr=9.7e-4, reference=reference, beta=beta).trace


def of_encoders_towers_and_documents(seed: int) -> Iterator[Trace]:
    """Passes that read more than ids: which tokens are there, a source, where documents begin."""
    for name in ("like bert", "like modernbert"):
        model = random_model(config_of(name), seed, torch.float32)
        ids = random_ids(model.config, seed)
        inputs = random_inputs(model.config, seed, ids)
        targets = random_targets(model.config, seed, ids)
        yield model.watch(ids, targets, backward=True, **inputs)
    for name in TOWERS:
        ids, targets, source = random_pair(seed)
        towers = random_towers(name, seed, torch.float32)
        yield towers.watch(ids, targets, source=source, backward=True)
    model = random_model(config_of("gpt2"), seed, torch.float32)
    ids = random_ids(model.config, seed, batch=1, n=4)
    yield model.watch(ids, begins=torch.tensor([[0, 0, 2, 2]]))


def explanations(draw: random.Random) -> Iterator[Explanation]:
    """Of every trace, random numbers of each op."""
    for trace in traces(seed=draw.randrange(1000)):
        by_op: dict[str | None, list[Node]] = {}
        for node in trace.nodes.values():
            if node.formula is not None:
                by_op.setdefault(node.op, []).append(node)
        for op, nodes in by_op.items():
            for node in draw.sample(nodes, min(GRADIENTS if op == GRADIENT else 1, len(nodes))):
                yield trace.explain(random_address(node, draw))


def random_address(node: Node, draw: random.Random) -> str:
    index = tuple((a, draw.randrange(n)) for a, n in zip(node.axes, node.shape, strict=True))
    return str(Address(node.kind, node.name, index))


@pytest.fixture(scope="module")
def explained() -> list[Explanation]:
    return [*explanations(random.Random(7))]


def test_arithmetic_evaluated_as_printed_gives_the_printed_result_to_its_last_digit(explained):
    met = set()
    for explanation in explained:
        arithmetic = explanation.arithmetic
        met.add((explanation.node.kind, explanation.node.op))
        if "≈" not in arithmetic and "drawn" not in arithmetic:
            assert holds(arithmetic), (explanation.address, arithmetic)
    declared = {name for name, op in REGISTRY.items() if isinstance(op, Op)}
    assert declared - UNRECORDED <= {op for _, op in met}
    assert {kind for kind, _ in met} == {"fwd", "bwd", "opt", "choose"}


def test_of_a_hundred_lines_three_at_most_need_more_than_nine_digits(explained):
    approximate = Counter("≈" in explanation.arithmetic for explanation in explained)
    assert approximate[False] > 600
    assert approximate[True] <= 0.03 * approximate.total()


def test_a_line_that_needs_more_digits_is_true_in_full(explained):
    approximate = [e for e in explained if "≈" in e.arithmetic]
    assert approximate
    for explanation in approximate:
        in_full = explanation.arithmetic_in_full
        assert "≈" in in_full or holds(in_full), in_full
    # what is left is cancellation beyond float64 itself
    assert sum("≈" in e.arithmetic_in_full for e in approximate) <= 0.5 * len(approximate)


def test_the_terms_of_a_sum_add_up_as_they_are_printed(explained):
    summed = [e for e in explained if len(e.terms) > 1 and e.terms.column.holds]
    assert len(summed) > 50
    for explanation in summed[:50]:
        terms = explanation.terms
        unit = last_digit(terms[0].text)
        so_far = 0
        for term in terms:
            so_far += round(float(term.text) / unit)
            assert round(float(term.running) / unit) == so_far
        middle = terms.sum_of(1, len(terms))
        assert gives(f"{terms[0].text} + ({middle})", terms[-1].running)
