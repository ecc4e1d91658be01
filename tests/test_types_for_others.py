"""What type checkers tell somebody whose script uses the package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import glassformer as gf

SOURCES = Path(gf.__file__).parents[1]

RIGHT = """
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import assert_type

import glassformer as gf
from glassformer import ops
from glassformer.lab import Attribution, Comparison, Glimpse, Neighbor, Repeats
from glassformer.text.blocks import Blocks
from glassformer.text.shard_writing import write_shard
from glassformer.training.data import BlocksData

model, tokenizer = gf.load("worked_example")
assert tokenizer is not None
assert isinstance(model, gf.Decoder)  # of a folder that may be of another kind
assert_type(tokenizer.encode("the cat"), list[int])
config = gf.Config(vocab_size=6, n_ctx=4, d_model=4, n_layers=1, n_heads=1)
assert_type(gf.Decoder(config).config, gf.Config)
logits: Tensor = model(torch.tensor([[0, 1]]))

trace = model.watch("the cat sat on")
assert_type(trace, gf.Trace)
model.watch(["the cat", "the mat"])
for ids in ([0, 1], [[0, 1], [1, 0]], np.array([0, 1]), torch.tensor([0])):
    model.watch(ids)
model.watch([0, 1], [1, 2], backward=True, keep="*.attn.*", edit={"blocks.0.mlp.post": 0.0})
assert_type(trace["logits"], Tensor)
found = trace.explain("logits[pos=3,vocab=4]")
assert_type(found, gf.Explanation)
assert_type(found.arithmetic, str)
assert_type(found.value, float | int)
assert_type([operand.address for operand in found.operands], list[str])
assert_type([operand.value for operand in found.operands], list[float])

text = gf.generate(model, [0, 1], max_new_tokens=2, temperature=0.5, top_k=3, seed=1)
assert_type([token for token in text], list[int])
texts = gf.generate_batch(gf.pack(model), [[0, 1], [2]], max_new_tokens=2)
assert_type([list(one) for one in texts], list[list[int]])

heads: Comparison = gf.lab.ablate(model, "the cat", heads=[(0, 0)])
edits = {"blocks.0.mlp.post": torch.zeros(2, 4)}
edited: Comparison = gf.lab.edit(model, "the cat", {"blocks.0.mlp.post": lambda post: 2 * post})
edited = gf.lab.edit(model, [0, 1], edits)
other = model.watch("the mat")
patched: Comparison = gf.lab.patch(model, "the cat", "blocks.0.resid_post", source=other)
assert_type(edited.surprise("mat"), tuple[float, float])
assert_type(edited.after["logits"], Tensor)
assert_type([shift.word for shift in edited.next_tokens()], list[str])
assert_type(gf.lab.lens(model, trace), list[Glimpse])
assert_type(gf.lab.lens(model, "the cat")[0].best(n=1)[0].prob, float)
assert_type(gf.lab.attribution(model, "the cat", "mat"), Attribution)
assert_type(gf.lab.neighbors(model, "cat", n=2), list[Neighbor])
assert_type(gf.lab.analogy(model, "cat", 0, "mat"), list[Neighbor])
assert_type(gf.lab.in_context(model), Repeats)

update = gf.watch_step(model, "the cat sat on", recipe=gf.Recipe(lr=0.1))
assert_type(update.trace, gf.Trace)
assert_type(update.model, gf.Decoder)
assert_type(gf.watch("worked_example", "the cat", target="sat"), gf.Trace)

place = Path(tempfile.mkdtemp())
data = BlocksData(Blocks(write_shard(place / "shard", ["the cat sat on the mat"], tokenizer), 4))
outcome = gf.train(model, data, gf.Recipe(steps=1), report=lambda row: print(row["step"]))
assert_type(outcome.step, int)
gf.save(model, tokenizer, place / "model")


def attend(t: ops.Tape, x: Tensor, W_QKV: Tensor) -> Tensor:
    q, k, v = t(("q", "k", "v"), ops.project_qkv, x, W_QKV, None, n_heads=2, n_kv_heads=2)
    normed = t("q_normed", ops.QK_NORMS["head"].norm, q, None, eps=1e-5)
    assert_type(t("scores", ops.mix, normed, k), Tensor)
    assert_type(t(("dropped", "kept"), ops.dropout, x, p=0.5), tuple[Tensor, Tensor])
    return t("z", ops.attention, q, k, v, None, causal=True)


def updates(run: Path) -> int:
    return gf.load_run(run).steps_done
"""

WRONG = """
from torch import Tensor

import glassformer as gf
from glassformer import ops

model, _ = gf.load("worked_example")
gf.generate("text", [0])
model.watch(3.5)
gf.lab.ablate(model, "the cat", heads=[0])
gf.lab.edit(model, "the cat", {"blocks.0.mlp.post": "nothing"})
gf.Config(vocab_size="six", n_ctx=4, d_model=4, n_layers=1, n_heads=1)
model.watch("the cat").explain(3)


def attend(t: ops.Tape, pattern: Tensor, v: Tensor) -> None:
    t("z", ops.mix, pattern)
    t("z", ops.mix, pattern, "v")
    t("z", ops.mix, pattern, v, v)
    t("z", ops.attention, pattern, v, v, causal=True)
    t("normalized", ops.rms_norm, pattern, None, epsilon=1e-5)
    t("normalized", ops.rms_norm, pattern, None, eps="small")
    t("z", sum, pattern, v)
    q: Tensor = t(("q", "k", "v"), ops.project_qkv, pattern, v, None, n_heads=2, n_kv_heads=2)
    k: str = t("k", ops.carry, q)
    print(k)
"""
WRONG_LINES = {*range(8, 14), *range(17, 26)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "right.py").write_text(RIGHT, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    return tmp_path


def _check(project: Path, *arguments: str) -> str:
    checked = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=os.environ | {"MYPYPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert not checked.stderr, checked.stderr
    return checked.stdout


@pytest.mark.heavy  # mypy reads all of torch first
def test_mypy_knows_every_type_of_a_users_script_and_finds_wrong_uses(project: Path):
    # silent: of an installed package, too, only the types count
    options = ("--strict", "--follow-imports=silent", "--no-color-output")
    said = _check(project, "mypy", *options, "right.py", "wrong.py")
    errors = re.findall(r"^(.*?):(\d+): error: .*$", said, re.M)
    assert {(file, int(line)) for file, line in errors} == {("wrong.py", n) for n in WRONG_LINES}, (
        said
    )


def test_the_users_script_runs() -> None:
    exec(compile(RIGHT, "right.py", "exec"), {})


@pytest.mark.heavy  # reads the stubs of torch and NumPy first
def test_basedpyright_knows_every_type_of_a_users_script_and_finds_wrong_uses(project: Path):
    strict = {"include": ["*.py"], "typeCheckingMode": "strict", "extraPaths": [str(SOURCES)]}
    (project / "pyrightconfig.json").write_text(json.dumps(strict), encoding="utf-8")
    said = _check(project, "basedpyright", "--outputjson", "--pythonpath", sys.executable)
    errors = {
        (Path(result["file"]).name, result["range"]["start"]["line"] + 1)
        for result in json.loads(said)["generalDiagnostics"]
    }
    assert errors == {("wrong.py", n) for n in WRONG_LINES}, said
