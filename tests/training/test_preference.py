"""A model learns to prefer one reply to another (DPO), and every number of it is explained."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch.distributed.distributed_c10d import Store

from glassformer.errors import GlassformerError
from glassformer.interop.open import load
from glassformer.kernels import cross_entropy
from glassformer.model import Config, Decoder
from glassformer.model.parts import Lora
from glassformer.ops import IGNORED
from glassformer.text.preference_rows import render_preference
from glassformer.text.rows import Row
from glassformer.text.storyland.chats import BASES, NOT_SAID, chats
from glassformer.text.storyland.preferences import preferences
from glassformer.training.chat import for_chats
from glassformer.training.choices import Choices
from glassformer.training.distributed import Group
from glassformer.training.loop import Loop
from glassformer.training.preference import REFERENCE, PreferenceData
from glassformer.training.prepare import new_run, resumed_run
from glassformer.training.replay import state_at
from glassformer.training.storyland_chat import chat_tokenizer
from glassformer.training.watched import watch_step
from tests.training.small import finished, weights_equal

COLORS = {"fig": "black", "kiwi": "green", "plum": "blue", "lime": "green", "rose": "red"}
MODEL = {"n_ctx": 32, "d_model": 16, "n_layers": 2, "n_heads": 2}
RECIPE = {"steps": 6, "batch_size": 2, "eval_every": 3, "save_every": 3, "warmup_steps": 1}


def rows() -> list[dict[str, Any]]:
    """What color a thing is: the right one, and that of another thing."""
    return [
        {"prompt": f"what is the {thing}?", "chosen": f"it is {color}.", "rejected": f"{other}."}
        for thing, color in COLORS.items()
        for other in sorted({*COLORS.values()} - {color})
    ]


def written(file: Path, values: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chats, pairs, the run `base` on the chats and the run `preferred` from that."""
    folder = tmp_path_factory.mktemp("preferences")
    asked = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[reply]}]
        for row in rows()
        for reply in ("chosen", "rejected")
    ]
    written(folder / "chats.jsonl", [{"messages": messages} for messages in asked])
    written(folder / "pairs.jsonl", rows())
    texts = (str(folder / "chats.jsonl"),)
    base = Choices(texts=texts, tokenizer="words", model=MODEL, recipe=RECIPE, preset="text")
    finished(new_run(folder / "base", base))
    finished(new_run(folder / "preferred", choices(folder)))
    return folder


def choices(folder: Path, **more: Any) -> Choices:
    options = {"beta": 0.5, "recipe": {**RECIPE, "accumulate": 2, "lr": 1e-2}, **more}
    return Choices(texts=(str(folder / "pairs.jsonl"),), start_from=str(folder / "base"), **options)


def model_and_pairs() -> tuple[Decoder, dict[str, Any]]:
    """A model in float64, and three pairs of rows of which some tokens are asked for."""
    generator = torch.Generator().manual_seed(0)
    config = Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3)
    model = Decoder(config, generator).double()
    ids, targets = (torch.randint(11, (6, 5), generator=generator) for _ in range(2))
    targets = targets.masked_fill(torch.rand(6, 5, generator=generator) < 0.4, IGNORED)
    reference = 3 + 4 * torch.rand(6, generator=generator).double()
    beta = torch.full((6,), 0.3, dtype=torch.float64)
    return model, {"ids": ids, "targets": targets, "reference": reference, "beta": beta}


def by_trl(model: Decoder, pairs: dict[str, Any]) -> torch.Tensor:
    """The sigmoid loss of trl's DPOTrainer, line by line."""
    asked = pairs["targets"] != IGNORED
    labels = pairs["targets"].where(asked, 0)
    per_token = model(pairs["ids"]).log_softmax(-1).gather(2, labels[:, :, None])[:, :, 0]
    logps = (per_token * asked).sum(-1)
    chosen, rejected = logps[0::2], logps[1::2]
    ref_chosen, ref_rejected = -pairs["reference"][0::2], -pairs["reference"][1::2]
    ratio = (chosen - rejected) - (ref_chosen - ref_rejected)
    return -F.logsigmoid(0.3 * ratio).mean()


@pytest.mark.parametrize("chunk", [cross_entropy.CHUNK, 120], ids=["whole", "a-text-at-a-time"])
def test_loss_and_gradients_are_those_of_trls_formula(monkeypatch, chunk):
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    model, pairs = model_and_pairs()
    parameters = [*model.parameters()]
    ours, theirs = model.loss(**pairs), by_trl(model, pairs)
    # float64, sums of thirty numbers of size 1
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)
    for gradient, other in zip(
        *(torch.autograd.grad(x, parameters) for x in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(gradient, other, rtol=1e-11, atol=1e-14)


def test_every_number_from_replies_to_the_changed_weights_is_explained():
    model, pairs = model_and_pairs()
    watched = watch_step(model, pairs.pop("ids"), pairs.pop("targets"), lr=0.01, **pairs)
    trace = watched.trace
    torch.testing.assert_close(
        trace["loss"], model.loss(trace["token/ids"], trace["token/targets"], **pairs)
    )
    rng = np.random.default_rng(0)
    seen = set()
    for node in trace.computed:
        for _ in range(2):
            at = {a: int(rng.integers(n)) for a, n in zip(node.axes, node.shape, strict=True)}
            index = ",".join(f"{axis}={i}" for axis, i in at.items())
            assert trace.explain(f"{node.path}[{index}]" if at else node.path).agrees, node.path
        seen.add(node.path)
    assert {"fwd/reply_gain", "fwd/preference", "bwd/pair_scores", "opt/embed.W_E"} <= seen
    margin = trace["pair_scores"][:, 0] - trace["pair_scores"][:, 1]
    torch.testing.assert_close(trace["preference"][:, 0], margin.sigmoid())


def test_a_run_begins_where_neither_reply_is_preferred_and_learns_to_prefer_the_chosen(folder):
    data = resumed_run(folder / "preferred").data
    assert isinstance(data, PreferenceData)
    base, preferred = (load(folder / name)[0] for name in ("base", "preferred"))
    for batch in data.held_out(4):
        start, end = (
            m.loss(batch.ids, batch.targets, **batch.extra).item() for m in (base, preferred)
        )
        assert start == pytest.approx(math.log(2), abs=1e-6)
        assert end < 0.95 * start
        assert batch.n_asked == len(batch.ids) // 2


def test_the_targets_of_a_pair_are_the_two_replies_alone(folder):
    prepared = resumed_run(folder / "preferred")
    prepared.run.close()
    tokenizer = prepared.run.tokenizer
    batch = prepared.data.batch(0, 3)
    said = [
        " ".join(tokenizer.token(t) for t in row.tolist() if t != IGNORED) for row in batch.targets
    ]
    assert all(text.startswith("it is") for text in said[0::2])
    assert all(len(text.split()) == 3 for text in said[1::2])  # a color, a point, the end
    assert torch.equal(batch.ids[0::2, :6], batch.ids[1::2, :6])  # the same question


def test_a_stopped_run_goes_on_bit_for_bit_and_is_replayed(folder, tmp_path):
    recipe = {**RECIPE, "accumulate": 2, "lr": 1e-2, "snapshots": 3}
    stopped = new_run(tmp_path / "stopped", choices(folder, recipe=recipe))
    with stopped.run:
        loop = Loop(stopped.model, stopped.data, stopped.recipe, stopped.run)
        loop.go(lambda: loop.step == 3)
    resumed = finished(resumed_run(tmp_path / "stopped"))
    preferred = load(folder / "preferred")[0]
    assert weights_equal(resumed.model, preferred)
    four = state_at(tmp_path / "stopped", 4).model
    assert weights_equal(four, state_at(folder / "preferred", 4).model)
    (tmp_path / "stopped/data" / REFERENCE).write_bytes(b"changed")
    with pytest.raises(GlassformerError, match="nothing to compare with"):
        resumed_run(tmp_path / "stopped")


def test_adapters_alone_learn_to_prefer(folder, tmp_path):
    lora = Lora(rank=2, alpha=4.0, on=("W_Q", "W_V"))
    prepared = finished(new_run(tmp_path / "adapted", choices(folder, lora=lora)))
    held_out = next(iter(prepared.data.held_out(4)))
    loss = prepared.model.loss(held_out.ids, held_out.targets, **held_out.extra)
    assert loss.item() < math.log(2)
    assert not (tmp_path / "adapted/model.safetensors").exists()


FORMS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "Who?", "chosen": "Mia.", "rejected": "Ben."},
    "messages": {
        "prompt": [{"role": "user", "content": "Who?"}],
        "chosen": [{"role": "assistant", "content": "Mia."}],
        "rejected": [{"role": "assistant", "content": "Ben."}],
    },
    "whole conversations": {
        reply: [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": said}]
        for reply, said in (("chosen", "Mia."), ("rejected", "Ben."))
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_row_is_the_same_pair(form):
    tokenizer = chat_tokenizer()
    template = tokenizer.chat_template
    assert template is not None
    pair, expected = (
        render_preference(Row("rows.jsonl:1", FORMS[one]), template, tokenizer)
        for one in (form, "texts")
    )
    for chat, other in zip(pair, expected, strict=True):
        assert chat.ids.tolist() == other.ids.tolist()
        assert chat.is_reply.tolist() == other.is_reply.tolist()
        assert [tokenizer.token(int(i)) for i in chat.ids[chat.is_reply]][1:] == [".", "<eos>"]


def test_a_reply_that_both_conversations_have_is_not_asked_for():
    tokenizer = chat_tokenizer()
    turns = [("user", "Hello."), ("assistant", "Hello!"), ("user", "Who?"), ("assistant", "")]
    row = {
        reply: [{"role": role, "content": content or said} for role, content in turns]
        for reply, said in (("chosen", "Mia."), ("rejected", "Ben."))
    }
    assert tokenizer.chat_template is not None
    for chat in render_preference(Row("rows.jsonl:1", row), tokenizer.chat_template, tokenizer):
        assert "Hello" not in [tokenizer.token(int(i)) for i in chat.ids[chat.is_reply]]
        assert chat.is_reply.sum() == 3


BAD = {
    "has no field 'rejected'": {"prompt": "a", "chosen": "b"},
    "'chosen' is a number": {"prompt": "a", "chosen": 3, "rejected": "b"},
    "there is no 'prompt'": {"chosen": "a", "rejected": "b"},
    "ends with the user": {
        "prompt": "a",
        "chosen": [{"role": "user", "content": "b"}],
        "rejected": "c",
    },
    "'prompt' is a number": {"prompt": 7, "chosen": "b", "rejected": "c"},
}


@pytest.mark.parametrize("said", BAD)
def test_a_bad_row_is_answered_with_its_file_and_row(folder, tmp_path, said):
    file = written(tmp_path / "bad.jsonl", [rows()[0], BAD[said]])
    with pytest.raises(GlassformerError) as caught:
        new_run(
            tmp_path / "run", Choices(texts=(str(file),), start_from=str(folder / "base"), beta=1)
        )
    assert f"{file}:2" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pairs_from_parquet_are_those_from_json_lines(folder, tmp_path):
    pq.write_table(pa.Table.from_pylist(rows()), tmp_path / "pairs.parquet")
    wished = choices(folder)
    table = new_run(
        tmp_path / "run",
        Choices(texts=(str(tmp_path / "pairs.parquet"),), start_from=wished.start_from, beta=0.5),
    )
    table.run.close()
    lines = resumed_run(folder / "preferred")
    lines.run.close()
    for name in ("tokens_sha256", "asked_sha256", "reference_sha256", "beta"):
        assert table.data.describe()[name] == lines.data.describe()[name], name


def test_pairs_that_teach_nothing_are_left_out_and_said(folder, tmp_path):
    same = {**rows()[0], "rejected": rows()[0]["chosen"]}
    long = {**rows()[0], "prompt": "what is the fig? " * 9}
    file = written(tmp_path / "pairs.jsonl", [*rows(), same, long])
    wished = Choices(texts=(str(file),), start_from=str(folder / "base"), beta=0.5)
    prepared = new_run(tmp_path / "run", wished)
    prepared.run.close()
    assert prepared.notes[0].startswith(f"{len(rows())} pairs of replies")
    assert "both replies are the same: 1 pair" in prepared.notes[-1]
    assert "no token in the first 32: 1 pair" in prepared.notes[-2]
    alone = Choices(
        texts=(str(written(tmp_path / "same.jsonl", [same])),), start_from=wished.start_from, beta=1
    )
    with pytest.raises(GlassformerError, match="no pair to learn from"):
        new_run(tmp_path / "none", alone)


def test_both_replies_of_a_pair_are_read_by_one_process(folder):
    prepared = resumed_run(folder / "preferred")
    prepared.run.close()
    batch = prepared.data.batch(0, 3)
    for size in (2, 3, 4):
        shares = [
            Group(Store(), rank, size, torch.device("cpu"), False).share(batch)
            for rank in range(size)
        ]
        assert all(len(share.ids) % 2 == 0 for share in shares)
        assert all(len(share.ids) for share in shares)
        assert sum(share.n_asked for share in shares) == batch.n_asked == 3
        asked = [share.ids for share in shares if share.n_asked]
        assert torch.equal(torch.cat(asked), batch.ids)


def test_a_wrong_reply_about_storyland_is_none_of_the_right_ones_and_is_known():
    tokenizer = for_chats(chat_tokenizer())
    for chat in islice(chats("test"), 300):
        for reply in chat.replies:
            assert reply.wrong not in reply.forms, reply
            assert bool(reply.wrong) == (reply.kind != "manners")
    for row in islice(preferences("test"), 300):
        assert row["prompt"][-1]["role"] == "user"
        assert row["chosen"] != row["rejected"]
        assert not tokenizer.unknown_words(row["rejected"])


def test_a_wrong_yes_or_no_does_not_contradict_itself():
    """Else a reply that nobody would give loses, and what the story says is not learned."""
    n_pairs = 0
    for chat in islice(chats("test"), 300):
        for prompt, reply in zip(chat.prompts, chat.replies, strict=True):
            if reply.kind not in ("is it", "did it") or "," not in reply.wrong:
                continue
            n_pairs += 1
            yes, _, said = reply.wrong.removesuffix(".").partition(", it ")
            said = said.removeprefix("is ")
            past, _, rest = said.partition(" ")
            asked = said if reply.kind == "is it" else f"{BASES[past]} {rest}"
            assert prompt.endswith(f" {asked}?") == (yes == "Yes"), (prompt, reply)
    assert n_pairs > 50


def test_that_the_story_does_not_say_is_rejected_about_as_often_as_it_is_chosen():
    pairs = [*islice(preferences("test"), 1000)]
    chosen, rejected = (
        sum(row[reply] in NOT_SAID for row in pairs) for reply in ("chosen", "rejected")
    )
    # of 1,000 each count has a standard deviation of 12
    assert chosen == pytest.approx(rejected, abs=60)
    assert min(chosen, rejected) > 100


def test_adapters_learn_preferences_at_ten_times_the_rate_of_all_weights(folder, tmp_path):
    lora = Lora(rank=2, alpha=4.0, on=("W_Q", "W_V"))

    def rate(name: str, **more: Any) -> float:
        prepared = new_run(tmp_path / name, choices(folder, **{"recipe": {"steps": 1}, **more}))
        prepared.run.close()
        return prepared.recipe.lr

    full, adapters = rate("whole"), rate("adapters", lora=lora)
    assert adapters == pytest.approx(10 * full)


@pytest.mark.heavy
def test_a_chat_of_storyland_learns_from_pairs_about_it(tmp_path):
    sizes = {"d_model": 8, "n_layers": 1, "n_heads": 1}
    few = {"steps": 1, "batch_size": 2}
    base = new_run(tmp_path / "base", Choices(preset="chat", model=sizes, recipe=few))
    finished(base)
    start = Choices(
        start_from=str(tmp_path / "base"), beta=0.1, recipe={"steps": 2, "batch_size": 2}
    )
    prepared = finished(new_run(tmp_path / "preferred", start))
    assert prepared.run.description.corpus["made"] == "storyland"
    assert prepared.data.describe()["n_validation"] == 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dpo"], "say which by --from FOLDER"),
        (["--beta", "0.2"], "add --dpo"),
        (["--dpo", "--from", "BASE", "--beta", "0"], "must be above 0"),
        (["--dpo", "--from", "BASE", "--preset", "chat"], "leave out --preset"),
        (["--dpo", "--from", "ENCODER"], "has an encoder"),
        (["--from", "BASE"], "--dpo"),
    ],
)
def test_what_does_not_go_with_preferences_is_refused_in_words(
    glassformer, folder, tmp_path, options, said
):
    if "ENCODER" in options:
        few = Choices(preset="masked", recipe={"steps": 1, "batch_size": 2})
        new_run(tmp_path / "encoder", few).run.close()
    folders = {"BASE": folder / "base", "ENCODER": tmp_path / "encoder"}
    arguments = [str(folders.get(option, option)) for option in options]
    out = tmp_path / "run"
    code, _, shown = glassformer("train", folder / "pairs.jsonl", "--out", out, *arguments)
    assert code == 2
    assert said in shown
    assert shown.count("\n") == 1
    assert not (out / "run.json").exists()


def test_a_step_on_two_replies_is_told_and_each_of_its_numbers_explained(glassformer, folder):
    words = [folder / "base", "what is the plum?", "--reply", "it is blue.", "--rejected", "red."]
    code, shown, _ = glassformer("step", *words)
    assert code == 0
    assert re.search(r"chosen +\S+ +\S+ +0(\.0+)? +0\.5000", shown), "there is no gain on itself"
    assert "The loss: 0.6931" in shown
    code, shown, _ = glassformer("step", *words, "--steps", "3", "--json")
    assert code == 0
    losses = json.loads(shown)["losses"]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-7)
    assert losses == sorted(losses, reverse=True)
    run, prompt, *options = words
    for address in ("fwd/preference[reply=1]", "opt/blocks.0.mlp.W_in.change[d_model=0,d_mlp=1]"):
        code, shown, _ = glassformer("explain", run, prompt, address, *options)
        assert code == 0
        assert "agrees" in shown
    code, _, said = glassformer("step", run, prompt, "--rejected", "red.")
    assert code == 2
    assert "give that by --reply" in said
    code, _, said = glassformer("step", run, prompt, "--reply", "red.", "--rejected", "red.")
    assert code == 2
    assert "both replies are the same" in said
