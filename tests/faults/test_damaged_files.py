"""Every file of a run, damaged in every way: readers succeed or say in one line why not."""

import hashlib
import itertools
import json
import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.generation.defaults import read_defaults
from glassformer.generation.generate import generate
from glassformer.interop.open import load
from glassformer.lab.biography import biography
from glassformer.server.runs import Runs
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address
from glassformer.trace.trace import Trace
from glassformer.training.data import whole_text
from glassformer.training.evaluate import evaluate
from glassformer.training.loop import Loop
from glassformer.training.prepare import resumed_run
from glassformer.training.replay import Replay
from glassformer.training.run import load_run
from glassformer.training.train_state import open_run, open_train_state
from tests.pages import export
from tests.training.replayed import STEPS, train_run

ESCAPE = "\\u001b[2J\\n"
VALUES = [
    *("null", "true", "-1", "0", "1.5", "NaN", "Infinity", "1e400", "9" * 30, "9" * 5000),
    *('"x"', '"\\ud800"', f'"{ESCAPE}"', f'"{"y" * 100_000}"', "[]", "{}", '[{"a": 1}]'),
    *("[" * 100_000, "[" * 300 + "]" * 300),
]
BYTES: list[Callable[[bytes], bytes]] = [
    lambda _: b"",
    lambda data: data[: len(data) // 2],
    lambda data: b"\xff" + data,
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data.replace(b'"', b"\x00"),
    lambda _: b"[1, 2]",
    lambda _: b"null",
]
SAVED = [f"checkpoints/step-{STEPS:06d}", "snapshots/step-000000", "snapshots/step-000008"]
JSON = [
    *("run.json", "metrics.jsonl", "data/shard.json", "config.json", "tokenizer_config.json"),
    *("tokenizer.json", "generation_config.json"),
    *(f"{folder}/{name}.json" for folder in SAVED for name in ("state", "manifest")),
]
TENSORS = [
    "model.safetensors",
    *(f"{folder}/{name}.safetensors" for folder in SAVED for name in ("model", "optimizer")),
]
WEIGHT = Address.parse("blocks.0.attn.W_K[head=1,d_model=3,d_head=2]")


@pytest.fixture(scope="module", params=["adamw", pytest.param("muon", marks=pytest.mark.heavy)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "run"
    train_run(folder, optimizer=request.param)
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 3, "eos_token_id": [0]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def resume(run: Path) -> None:
    prepared = resumed_run(run)
    with prepared.run as opened:
        loop = Loop(prepared.model, prepared.data, prepared.recipe)
        loop.restore(opened.checkpoints / f"step-{STEPS:06d}")


def step(run: Path) -> None:
    state = open_train_state(str(run))
    state.train_step(*state.make_targets("the cat sat"))


def explain(run: Path) -> None:
    model, tokenizer = load(run)
    assert tokenizer is not None
    model.watch(torch.tensor([tokenizer.encode("the cat")])).explain("fwd/probs[pos=1,vocab=0]")


def serve(run: Path) -> None:
    source = Runs([str(run)])["run"]
    json.dumps(source.info(Tokenizer.load(run)).model_dump(), allow_nan=False)
    json.dumps(source.metrics().model_dump(), allow_nan=False)


def measure(run: Path) -> None:
    model, tokenizer = open_run(str(run), None)
    with tempfile.TemporaryDirectory() as folder:
        shard = write_shard(folder, ["the cat sat on the mat"], tokenizer)
        evaluate(model, whole_text(shard, model.config.n_ctx, rows=2))


def ask(run: Path) -> None:
    model, tokenizer = open_run(str(run), 8)  # at a snapshot
    chosen = read_defaults(model.folder_settings).settings
    list(generate(model, tokenizer.encode_prompt("the cat"), max_new_tokens=2, seed=0, **chosen))


READERS: list[Callable[[Path], object]] = [
    *(load_run, resume, step, explain, serve, measure, ask),
    lambda run: Replay(run, STEPS),
    lambda run: biography(run, WEIGHT, seconds=0),
    lambda run: export(str(run), "the cat", run.with_name("page.html")),
]


def damaged_json(data: bytes) -> Iterator[bytes]:
    """Each field left out, and each made everything else that JSON can say."""
    text = data.decode()
    if "\n{" in text:  # lines of JSON: one in the middle
        before, line, after = text.partition(text.splitlines()[1])
        yield from (before.encode() + bad + after.encode() for bad in damaged_json(line.encode()))
        return
    content = json.loads(text)
    for key_path in key_paths(content):
        yield json.dumps(changed(content, key_path, None)).encode()
        with_hole = json.dumps(changed(content, key_path, "HERE"))
        yield from (with_hole.replace('"HERE"', value).encode() for value in VALUES)


def key_paths(content: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(content, dict):
        for name, child in content.items():
            yield (name,)
            yield from ((name, *deeper) for deeper in key_paths(child))


def changed(
    content: dict[str, Any], key_path: tuple[Any, ...], value: str | None
) -> dict[str, Any]:
    """A copy with one field left out, or made `value`."""
    copy = json.loads(json.dumps(content))
    inner = copy
    for name in key_path[:-1]:
        inner = inner[name]
    del inner[key_path[-1]]
    if value is not None:
        inner[key_path[-1]] = value
    return copy


def damaged_tensors(data: bytes) -> Iterator[bytes]:
    """A header that lies about names, dtypes, shapes and places, or is no header."""
    size = struct.unpack("<Q", data[:8])[0]
    header, numbers = json.loads(data[8 : 8 + size]), data[8 + size :]
    first = next(name for name in header if name != "__metadata__")
    about = header[first]
    others: list[dict[str, Any]] = [
        *({**header, first: {**about, "dtype": d}} for d in ("I32", "F8_E4M3", "C64", "F999", 3)),
        *({**header, first: {**about, "shape": s}} for s in ([1], [-1], [2**62, 4], "x", None)),
        *({**header, first: {**about, "data_offsets": o}} for o in ([0, 1], [4, 0], [0, 2**60])),
        {**{n: v for n, v in header.items() if n != first}, "\x1b[2J\nname": about},
        {**header, first: {**about, "shape": about["shape"][::-1]}},
        {**header, "__metadata__": {"glassformer.sha256": "[" * 100_000}},
        {**header, "__metadata__": 3},
        {},
    ]
    for other in others:
        text = json.dumps(other).encode()
        yield struct.pack("<Q", len(text)) + text + numbers
    yield struct.pack("<Q", 2**63) + data[8:]
    yield data[:8] + b"[" * size + numbers


def damaged_numbers(data: bytes) -> Iterator[bytes]:
    """Tokens, or the places of documents, that are others, too many or too few."""
    yield from (data[:-1], data + data, data[::-1], data[:2] * (len(data) // 2))
    yield from (bytes(len(data)), b"\xff" * len(data))


def cases(run: Path) -> list[tuple[str, bytes]]:
    """A file's name and what it is damaged to."""
    result = []
    numbers = [str(path.relative_to(run)) for path in sorted(run.glob("data/*.bin"))]
    kinds = ((JSON, damaged_json), (TENSORS, damaged_tensors), (numbers, damaged_numbers))
    for names, damage in kinds:
        for name in names:
            data = (run / name).read_bytes()
            result += [(name, change(data)) for change in BYTES]
            result += [(name, bad) for bad in damage(data)]
    return result


def refused(read: Callable[[], object], what: str = "") -> bool:
    """Whether a reader refuses, which it may only do in one line that can't steer a terminal."""
    said = ""
    try:
        read()
    except GlassformerError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{what} ... ended in {error!r:.300}") from error
    assert said.isprintable(), said
    assert len(said) < 3000, said[:200]
    return bool(said)


def check(run: Path, name: str, bad: bytes, reader: Callable[[Path], object]) -> bool:
    """Whether a reader refuses a run with one damaged file; the file is put back."""
    path = run / name
    manifest = path.with_name("manifest.json")
    kept = {path: path.read_bytes()}
    # as somebody does who signs what they changed
    sha256 = hashlib.sha256(bad).hexdigest()
    signed: dict[Path, dict[str, str]] = {}
    if manifest.is_file() and path != manifest:
        signed[manifest] = {path.name: sha256}
    elif path.name.startswith("tokens-"):
        signed[path.with_name("shard.json")] = {"sha256": sha256}
    for file, fields in signed.items():
        kept[file] = file.read_bytes()
        file.write_text(json.dumps({**json.loads(kept[file]), **fields}))
    path.write_bytes(bad)
    try:
        return refused(lambda: reader(run), f"{name} as {bad[:200]!r}")
    finally:
        for file, data in kept.items():
            file.write_bytes(data)


def read_damaged(run: Path, n: int, seed: int) -> None:
    """Damage n files, one after the other, and read each by the reader whose turn it is."""
    chosen = random.Random(seed).sample(cases(run), n)
    refusals = sum(
        check(run, name, bad, reader)
        for (name, bad), reader in zip(chosen, itertools.cycle(READERS), strict=False)
    )
    assert refusals > n // 6
    for reader in READERS:
        reader(run)  # and the run is as it was


def test_some_dozen_damaged_files_of_a_run_are_read_or_refused_in_one_line(run):
    read_damaged(run, 60, seed=0)


@pytest.mark.heavy
def test_thousands_of_damaged_files_of_a_run_are_read_or_refused_in_one_line(run):
    read_damaged(run, 2500, seed=1)


def test_a_self_made_trace_is_read_or_refused_in_one_line(tmp_path):
    model, tokenizer = load("worked_example")
    assert tokenizer is not None
    folder = model.watch(torch.tensor([tokenizer.encode("the cat")])).save(tmp_path / "trace")
    path = folder / "trace.json"
    table = json.loads(path.read_text())
    made = next(row for row in table["nodes"] if row["operands"])
    named = {row["address"]: row for row in table["nodes"]}

    def refusal(**changes: Any) -> str:
        nodes = [{**row, **changes} if row is made else row for row in table["nodes"]]
        path.write_text(json.dumps({**table, "nodes": nodes}))
        with pytest.raises(GlassformerError) as caught:
            Trace.load(folder)
        return str(caught.value)

    operand = next(iter(made["operands"]))
    assert "is made of itself" in refusal(operands={**made["operands"], operand: made["address"]})
    assert "is not there" in refusal(operands={**made["operands"], operand: "fwd/nowhere"})
    assert f"lacks {operand}" in refusal(operands={})
    assert "two nodes are named" in refusal(address=next(iter(named)))
    assert "other axes than its formula" in refusal(axes=made["axes"][::-1])
    assert "axes and" in refusal(shape=[1])
    assert "nodes[" in refusal(dtype="float7")
    assert "do not fit" in refusal(bytes=[0, 1])
    assert "has formula 999 of" in refusal(formula=999)
    saved = json.dumps(table)
    fields = [(name, value) for name in made for value in VALUES]
    for name, value in random.Random(0).sample(fields, 60):
        nodes = [{**row, name: "HERE"} if row is made else row for row in table["nodes"]]
        text = json.dumps({**table, "nodes": nodes})
        path.write_text(text.replace('"HERE"', value))
        refused(lambda: Trace.load(folder).explain("fwd/probs[pos=1,vocab=0]"))
    path.write_text(saved)
    assert Trace.load(folder).explain("fwd/probs[pos=1,vocab=0]").agrees
