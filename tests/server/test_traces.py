"""A live trace is read in parts, and is bit for bit what a saved one is."""

import gzip
import json
import re
from dataclasses import asdict
from typing import Any

import pytest
import torch
from safetensors.torch import load as read_safetensors

from glassformer.errors import GlassformerError
from glassformer.interop import save
from glassformer.lab.logit_attribution import attribute
from glassformer.model import Config, Decoder, EncoderDecoder
from glassformer.ops import IGNORED
from glassformer.server.ranges import parse_range
from glassformer.server.record import forward_bytes, record
from glassformer.server.schemas import TraceOptions, TraceRequest
from glassformer.server.traces import STEP_BYTES, LiveTrace, TraceStore, held_bytes
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace
from glassformer.training.train_state import open_train_state
from glassformer.watch.one_pass import estimated_bytes
from tests.model.towers import random_towers
from tests.server.served import PROMPT, all_values, client, error, node_table, open_trace

server = client("miniature", "worked_example")


def saved(trace: Trace, tmp_path) -> tuple[bytes, bytes]:
    folder = trace.save(tmp_path / "trace")
    return (folder / "trace.json").read_bytes(), (folder / "values.safetensors").read_bytes()


@pytest.mark.parametrize("wishes", [{}, {"target": "mat"}, {"backward": False}, {"float64": True}])
def test_the_served_files_are_the_saved_ones_byte_for_byte(tmp_path, wishes):
    about = open_trace(server, **wishes)
    again = record(open_train_state("miniature"), TraceOptions(prompt=PROMPT, **wishes)).trace
    table, values = saved(again, tmp_path)
    assert server.get(f"/api/traces/{about['id']}/trace.json").content == table
    assert all_values(server, about) == values


def test_the_served_values_are_a_safetensors_file():
    about = open_trace(server)
    tensors = read_safetensors(all_values(server, about))
    expected = record(open_train_state("miniature"), TraceOptions(prompt=PROMPT)).trace
    assert list(tensors) != []
    for path, tensor in tensors.items():
        assert torch.equal(tensor, expected.value_of(expected.node(path)))


def test_a_trace_holds_forward_backward_update_and_the_next_token():
    about = open_trace(server, target="mat")
    assert (about["backward"], about["optimizer"], about["target"]) == (True, True, "mat")
    assert about["tokens"] == ["the", "cat", "sat", "on", "the"]
    nodes = {node["address"]: node for node in node_table(server, about)["nodes"]}
    kinds = {address.partition("/")[0] for address in nodes}
    assert kinds == {"fwd", "bwd", "opt", "choose", "weight", "token", "const"}
    assert "fwd/probs" in nodes
    assert "fwd/loss" in nodes
    begin, end = nodes["token/targets"]["bytes"]
    targets = torch.frombuffer(bytearray(all_values(server, about)[begin:end]), dtype=torch.int64)
    assert targets.tolist() == [1, 2, 3, 0, 4]  # the text's own next tokens, then "mat"


def test_without_a_target_the_last_position_asks_nothing():
    trace = record(open_train_state("miniature"), TraceOptions(prompt=PROMPT)).trace
    assert trace["token/targets"].tolist() == [1, 2, 3, 0, IGNORED]


def test_one_token_without_a_target_has_no_loss():
    about = open_trace(server, prompt="the")
    assert (about["backward"], about["optimizer"]) == (False, False)
    assert not any(s["address"] == "fwd/loss" for s in node_table(server, about)["nodes"])
    answer = server.post(
        "/api/traces", json={"run": "miniature", "prompt": "the", "backward": True}
    )
    assert "give a longer text or a target" in error(answer, 422, "invalid")


def test_the_node_table_is_compressed_for_who_accepts_it():
    path = f"/api/traces/{open_trace(server)['id']}/trace.json"
    plain = server.get(path, headers={"accept-encoding": "identity"})
    packed = server.get(path, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # the client unpacks it
    assert len(gzip.compress(plain.content, 1)) < len(plain.content) / 4


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-99", 0, 100), ("bytes=100-100", 100, 101), ("bytes=-16", -16, None)],
)
def test_a_range_gives_just_those_bytes(asked, begin, end):
    about = open_trace(server)
    content = all_values(server, about)
    answer = server.get(f"/api/traces/{about['id']}/values", headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == content[begin:end]
    first = begin % len(content)
    last = first + len(answer.content) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (None, 400, "bad_request"),
        ("bytes=", 400, "bad_request"),
        ("bytes=-", 400, "bad_request"),
        ("bytes=0-1,5-6", 400, "bad_request"),
        ("lines=0-1", 400, "bad_request"),
        ("bytes=5-4", 416, "range_not_satisfiable"),
        ("bytes=99999999-", 416, "range_not_satisfiable"),
        ("bytes=-0", 416, "range_not_satisfiable"),
    ],
)
def test_any_other_range_is_refused(asked, status, code):
    about = open_trace(server)
    headers = {} if asked is None else {"range": asked}
    error(server.get(f"/api/traces/{about['id']}/values", headers=headers), status, code)


def test_more_than_a_megabyte_at_once_is_refused():
    assert parse_range("bytes=100-1048675", 10**9) == (100, 1048676)
    with pytest.raises(GlassformerError, match="1,048,577 bytes are too many"):
        parse_range("bytes=100-1048676", 10**9)


def test_an_edit_changes_what_follows_it_and_is_marked():
    plain = open_trace(server)
    address = "fwd/blocks.0.attn.pattern[head=0]"
    edited = open_trace(server, edits={address: 0.0})
    assert edited["edits"] == {address: 0.0}
    assert (edited["backward"], edited["optimizer"]) == (True, False)
    marked = [s["address"] for s in node_table(server, edited)["nodes"] if s["edited"]]
    assert marked == ["fwd/blocks.0.attn.pattern"]
    before, after = (read_safetensors(all_values(server, a)) for a in (plain, edited))
    assert torch.equal(before["fwd/resid_start"], after["fwd/resid_start"])
    assert not torch.equal(before["fwd/logits"], after["fwd/logits"])


def test_a_patch_brings_a_value_from_another_trace():
    other = open_trace(server, prompt="a red cat sat on")
    address = "fwd/resid_start[pos=0]"
    about = open_trace(server, edits={address: {"trace": other["id"], "address": address}})
    source, patched = (read_safetensors(all_values(server, a)) for a in (other, about))
    assert torch.equal(source["fwd/resid_start"][:, 0], patched["fwd/resid_start"][:, 0])
    gone = {"trace": "gone", "address": address}
    request = {"run": "miniature", "prompt": PROMPT, "edits": {address: gone}}
    error(server.post("/api/traces", json=request), 404, "unknown_trace")


def test_sampling_settings_decide_the_token_and_are_told_back():
    sampling = {"temperature": 0.8, "top_k": 3, "top_p": None, "min_p": None}
    sampling |= {"repetition_penalty": 1.0, "seed": 5, "index": 2}
    about = open_trace(server, sampling=sampling)
    assert about["sampling"] == sampling
    assert open_trace(server, sampling=sampling)["chosen"] == about["chosen"]
    greedy = open_trace(server)
    probs = read_safetensors(all_values(server, greedy))["fwd/probs"]
    assert greedy["sampling"] is None
    assert greedy["chosen"]["id"] == int(probs[0, -1].argmax())


def test_the_difference_of_a_gradient_agrees_with_it():
    about = open_trace(server, target="mat", float64=True)
    address = "bwd/blocks.0.mlp.W_in[d_model=1,d_mlp=2]"
    result = server.get(f"/api/traces/{about['id']}/difference", params={"address": address}).json()
    assert abs(result["value"] - result["gradient"]) <= 10 * result["error"] + 1e-12
    wrong = server.get(f"/api/traces/{about['id']}/difference", params={"address": "fwd/embed"})
    error(wrong, 422, "invalid")


def test_a_prompt_that_is_too_long_is_told_by_how_much():
    request = {"run": "miniature", "prompt": "the " * 9}
    message = error(server.post("/api/traces", json=request), 422, "too_long")
    assert message == (
        "the prompt has 9 tokens and the model reads at most n_ctx=6; shorten it by 3"
    )


def test_a_trace_that_is_too_large_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr("glassformer.server.record.BUDGET_BYTES", 5_000)
    request = {"run": "miniature", "prompt": PROMPT, "backward": True}
    message = error(server.post("/api/traces", json=request), 422, "over_budget")
    assert "GB of values" in message
    assert "shorten the text" in message


def test_a_heavy_model_is_recorded_forward_only_unless_more_is_asked_for():
    state = open_train_state("miniature")
    light = record(state, TraceOptions(prompt=PROMPT), light_bytes=10_000)
    assert (light.backward, light.optimizer) == (True, False)
    lightest = record(state, TraceOptions(prompt=PROMPT), light_bytes=100)
    assert (lightest.backward, lightest.optimizer) == (False, False)
    asked = record(state, TraceOptions(prompt=PROMPT, backward=True), light_bytes=100)
    assert (asked.backward, asked.optimizer) == (True, False)


def test_the_lens_is_recorded_where_it_is_light_or_asked_for():
    state = open_train_state("miniature")
    said = "fwd/lens.blocks.0.resid_mid.best_token"
    assert said in record(state, TraceOptions(prompt=PROMPT)).trace.nodes
    assert said not in record(state, TraceOptions(prompt=PROMPT), light_bytes=10_000).trace.nodes
    assert (
        said
        in record(state, TraceOptions(prompt=PROMPT, lens=True), light_bytes=10_000).trace.nodes
    )
    paths = {node["address"] for node in node_table(server, open_trace(server))["nodes"]}
    assert said in paths
    without = {s["address"] for s in node_table(server, open_trace(server, lens=False))["nodes"]}
    assert not [path for path in without if "lens" in path]


def test_the_least_used_trace_goes_first():
    state = open_train_state("miniature")
    made = [
        LiveTrace(state, TraceRequest(run="miniature", prompt=PROMPT, backward=False))
        for _ in range(3)
    ]
    store = TraceStore(3 * made[0].nbytes - 1)
    store.add(made[0])
    store.add(made[1])
    assert store[made[0].id] is made[0]  # used again
    store.add(made[2])
    assert store[made[0].id] is made[0]
    with pytest.raises(GlassformerError, match="open the prompt again"):
        store[made[1].id]


def test_what_is_held_counts_steps_and_tables_and_is_a_share_of_the_memory(monkeypatch):
    trace = LiveTrace(open_train_state("miniature"), TraceRequest(run="miniature", prompt=PROMPT))
    before = trace.nbytes
    assert before > STEP_BYTES * len(trace.result.trace.nodes)
    tables = len(trace.table) + len(trace.table_gzip)
    assert trace.nbytes == before + tables + trace.values.copied
    for memory, held in ((4 << 30, (4 << 30) // 8), (64 << 30, 1_000_000_000)):
        monkeypatch.setattr("glassformer.server.traces.machine_memory", lambda n=memory: n)
        assert held_bytes() == held


def test_no_more_traces_are_held_than_python_looks_through_quickly(monkeypatch):
    monkeypatch.setattr("glassformer.server.traces.HELD_TRACES", 2)
    state, store = open_train_state("miniature"), TraceStore()
    made = [
        LiveTrace(state, TraceRequest(run="miniature", prompt=PROMPT, backward=False))
        for _ in range(3)
    ]
    for trace in made:
        store.add(trace)
    with pytest.raises(GlassformerError, match="open the prompt again"):
        store[made[0].id]
    assert store[made[1].id] is made[1]


def test_weights_that_no_open_model_shares_count_among_what_is_held():
    state = open_train_state("miniature")
    weights = sum(p.nbytes for p in state.model.parameters())
    store = TraceStore()

    def grown(**options: Any) -> int:
        """How much more than its values a trace adds, once another is the last."""
        before = store.nbytes
        request = TraceRequest(run="miniature", prompt=PROMPT, optimizer=False, **options)
        trace = LiveTrace(state, request)
        store.add(trace)
        assert store[plain.id] is plain
        return store.nbytes - before - trace.nbytes

    plain = LiveTrace(state, TraceRequest(run="miniature", prompt=PROMPT))
    store.add(plain)
    assert grown() < weights
    assert grown(float64=True) >= 2 * weights
    assert grown(edits={"weight/blocks.0.mlp.b_in[d_mlp=0]": 1.0}) >= weights
    before = store.nbytes
    plain.result.trace.explain("bwd/embed.W_E[vocab=0,d_model=0]", check=True)
    store.add(LiveTrace(state, TraceRequest(run="miniature", prompt=PROMPT, backward=False)))
    assert store.nbytes >= before + 2 * weights  # the float64 copy that was nudged


def test_ids_cannot_be_guessed():
    ids = {open_trace(server, backward=False)["id"] for _ in range(20)}
    assert len(ids) == 20
    assert {len(trace_id) for trace_id in ids} == {16}  # 96 random bits


def test_a_node_table_is_json_that_any_program_reads():
    text = server.get(f"/api/traces/{open_trace(server)['id']}/trace.json").text
    assert json.loads(text)["format"] == "glassformer-trace"


def test_tokens_that_were_drawn_follow_the_prompt_by_their_ids(tmp_path):
    """Also those that no text spells: half a character, the end of the text."""
    tokenizer = Tokenizer.train("bpe", ["the cat sat 犬は"], vocab_size=258)
    config = Config(vocab_size=tokenizer.vocab_size, n_ctx=16, d_model=8, n_layers=1, n_heads=1)
    save(Decoder(config), tokenizer, tmp_path / "bytes")
    state = open_train_state(str(tmp_path / "bytes"))
    tokens = tokenizer.encode("cat 犬は")
    half = len(tokens) - 4  # two of the three bytes of a character, and one more after it
    added = tokens[half : len(tokens) - 1]
    assert all(re.fullmatch("<0x..>", tokenizer.token(token)) for token in added)
    prompt = tokenizer.decode(tokens[:3])
    live = LiveTrace(state, TraceRequest(run="bytes", prompt=prompt, added=added, backward=False))
    assert live.about.ids == [*tokenizer.encode(prompt), *added]
    assert live.about.added == added
    assert "<0x" not in live.about.prompt
    dog = tokenizer.encode("犬")
    finished = TraceRequest(run="bytes", prompt="cat ", added=dog, backward=False)
    assert LiveTrace(state, finished).about.prompt == "cat 犬"
    with pytest.raises(GlassformerError, match=f"no token {tokenizer.vocab_size} to add"):
        record(state, TraceOptions(prompt="cat", added=[tokenizer.vocab_size]))


def test_a_logit_is_split_and_the_stream_read_early_as_the_lab_does():
    about = open_trace(server)
    state = open_train_state("miniature")
    trace = record(state, TraceOptions(prompt=PROMPT)).trace
    token = int(trace["logits[batch=0,pos=3]"].argmax())
    where = f"/api/traces/{about['id']}"
    result = server.get(f"{where}/attribution", params={"token": token, "pos": 3}).json()
    expected = attribute(state.model.config, trace, token, 3)
    assert result["shares"] == [asdict(share) for share in expected.shares]
    assert result["logit"] == expected.logit
    guesses = server.get(f"{where}/guesses", params={"pos": 3}).json()["guesses"]
    for guess in guesses:
        at = f"lens.{guess['point']}"
        assert guess["token"] == int(trace[f"{at}.best_token[batch=0,pos=3]"])
        assert guess["prob"] == float(trace[f"{at}.best_prob[batch=0,pos=3]"])
    assert len(guesses) == 1 + 2 * state.model.config.n_layers
    refused = server.get(f"{where}/guesses", params={"pos": 99})
    assert "they go from 0 to 4" in refused.json()["error"]["message"]
    refused = server.get(f"{where}/attribution", params={"token": 99, "pos": 0})
    assert "there is no token 99" in refused.json()["error"]["message"]


def test_what_a_pass_takes_is_counted_once_a_length_and_anew_for_another_model(monkeypatch):
    counted = []

    def counting(model, ids, **more):
        counted.append(ids.shape[1])
        return estimated_bytes(model, ids, **more)

    monkeypatch.setattr("glassformer.server.record.estimated_bytes", counting)
    config = Config(vocab_size=9, n_ctx=16, d_model=6, n_layers=1, n_heads=2, dropout=0.1)
    models = [
        Decoder(config).eval(),
        Decoder(config).eval().double(),
        random_towers("norms on both sides"),
    ]
    source = {"source": torch.zeros(1, 4, dtype=torch.int64)}
    for model in models:
        more: dict[str, Any] = source if isinstance(model, EncoderDecoder) else {}
        for n in (3, 3, 5):
            ids = torch.zeros(1, n, dtype=torch.int64)
            assert forward_bytes(model, ids, more) == model.watch(ids, **more).nbytes
    assert counted == [3, 5] * 3
