"""`train --config` and `--log`: options from a file, and the numbers for other programs."""

import json
import struct
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from glassformer.cli.app import load_verb
from glassformer.cli.config import NOT_OF_A_RUN, params_of, read_toml, typed_options
from glassformer.cli.variants import NOT_FOR_ALL, read_variants
from glassformer.training.loggers import numbers_of
from glassformer.training.options import to_toml
from glassformer.training.run import read_description, read_metrics

Record: Any = vars(wandb_internal_pb2)["Record"]  # protobuf makes it as it is imported

TEXT = "the cat sat on the mat and the dog sat on the log. " * 40
OPTIONS = """
tokenizer = "chars"
n-ctx = 8
d_model = 8
n_layers = 1
n_heads = 1
batch_size = 2
steps = 6
eval_every = 3
compile = false
"""


@pytest.fixture
def config(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    path = tmp_path / "run.toml"
    path.write_text(f'text = "{tmp_path / "text.txt"}"\n{OPTIONS}')
    return path


def logged_by_wandb(folder: Path) -> dict[int, dict[str, float]]:
    """The numbers of an offline run by step; the file is LevelDB's log: records in blocks."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, offset, record, rows = path.read_bytes(), 7, b"", {}
    while offset + 7 <= len(data):
        left = 2**15 - offset % 2**15
        if left < 7:
            offset += left
            continue
        length, part = struct.unpack("<HB", data[offset + 4 : offset + 7])
        record += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if part in (1, 4):  # whole, or the last part
            message = Record.FromString(record)
            record = b""
            if message.HasField("history"):
                items = message.history.item
                row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                rows[row["_step"]] = {n: v for n, v in row.items() if not n.startswith("_")}
    return rows


def test_every_logger_gets_the_numbers_of_every_row(glassformer, config, tmp_path, monkeypatch):
    # another test's openai in this process makes wandb speak of another product
    monkeypatch.setenv("WANDB_DISABLE_WEAVE", "true")
    run = tmp_path / "run"
    options = ["--out", run, "--log", "wandb,tensorboard"]
    code, _, said = glassformer("train", "--config", config, *options)
    assert (code, said) == (0, "")
    expected: dict[int, dict[str, float]] = {}
    for row in read_metrics(run / "metrics.jsonl"):
        expected.setdefault(row["step"], {}).update(numbers_of(row))
    assert "update_to_weight/blocks.0" in expected[3]
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    shown = {(e.step, name): e.value for name, each in scalars.items() for e in each}
    numbers = {(step, name): v for step, row in expected.items() for name, v in row.items()}
    assert shown == pytest.approx(numbers, rel=1e-6, nan_ok=True)  # TensorBoard keeps fp32
    assert logged_by_wandb(run) == expected
    code, _, said = glassformer("train", "--resume", "--out", run, "--log", "wandb")
    assert (code, said) == (0, "")
    ids = {path.name.rpartition("-")[2] for path in run.glob("wandb/offline-run-*")}
    assert ids == {(run / "logged-as").read_text()}  # a run that goes on stays one for W&B


def test_a_run_is_repeated_bit_for_bit_by_the_options_in_its_folder(glassformer, config, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    glassformer("train", "--config", config, "--out", first, "--steps", "4", "--seed", "7")
    assert read_description(first).recipe.steps == 4  # what is typed wins over the file
    code, _, said = glassformer("train", "--config", first / "train.toml", "--out", second)
    assert (code, said) == (0, "")
    for name in ("run.json", "train.toml"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    one, two = (load_file(run / "model.safetensors") for run in (first, second))
    assert one.keys() == two.keys()
    assert [name for name in one if not one[name].equal(two[name])] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stpes = 3", ", line 1: 'stpes' is no option of train. Did you mean 'steps'?"),
        ("config = 'a.toml'", ", line 1: 'config' is no option of train."),
        ("steps = [3, 4]", ", line 1: steps = [3, 4] must be one text or number"),
        ("\n# long\ncompile = 1", ", line 3: compile = 1 must be true or false"),
        ("steps = true", ", line 1: steps = True must be one text or number"),
        ("text = [\n'a',\n'b']\nsteps = 2.5", ", line 4: steps = 2.5 must be a valid integer"),
        ("lr = 0.1\nsteps = 'two'", ", line 2: steps = 'two' must be a valid integer"),
        ("lora = 0", ", line 1: lora = 0 must be greater than or equal to 1"),
        ("n-ctx = 8\nn_ctx = 9", ", line 2: n_ctx is given twice"),
        ("steps = 3\ntext = [\n['a']]", ", line 2: text = [['a']] must be texts"),
        ("steps =", "is no TOML"),
        ("steps = " + "9" * 5000, "is no TOML"),
        ("steps = " + "[" * 100_000, "is no TOML"),
        ("a." * 50_000 + "b = 1", "one of its names has more than 8 parts"),
        ("#" * 2**20 + "\nsteps = 2", "takes more than 1,048,576 bytes"),
        ("steps = [" + "1," * 10_000 + "]", "1, 1, ...] must be one text or number"),
        (None, "there is no file"),
    ],
)
def test_a_file_of_options_that_can_not_be_obeyed_is_answered_in_one_line(
    glassformer, tmp_path, content, said
):
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_text(content)
    code, _, complaint = glassformer("train", "--config", path, "--out", tmp_path / "run")
    assert (code, complaint.count("\n")) == (2, 1)
    assert said in complaint
    assert str(path) in complaint


def test_every_option_can_stand_in_a_file_and_is_written_into_the_run_as_it_was_asked_for(tmp_path):
    train = load_verb("train")
    typed: list[str] = ["3", "4"]
    values: dict[str, Any] = {"text": ["3", "4"]}
    for name, param in params_of(train).items():
        if name not in ("text", "config"):
            values[name] = True if param.is_flag else 3  # a name, a path, a rank, a rate
            typed += [param.opts[0]] if param.is_flag else [param.opts[0], "3"]
    file = tmp_path / "all.toml"
    file.write_text(to_toml(values))
    with train.make_context("train", ["--config", str(file)]) as ctx:
        from_file, kept = {**ctx.params, "config": None}, typed_options(ctx)
    with train.make_context("train", typed) as ctx:
        assert from_file == ctx.params
        assert kept == typed_options(ctx)
    assert from_file["steps"] == 3
    assert set(kept) == set(values) - set(NOT_OF_A_RUN)
    file.write_text(to_toml(kept))
    with train.make_context("train", ["--config", str(file)]) as ctx:
        read_again = {param.name: ctx.params[param.name] for param in params_of(train).values()}
    names = {params_of(train)[name].name for name in kept}
    assert {name: read_again[name] for name in names} == {name: from_file[name] for name in names}
    of_a_sweep = {name: value for name, value in values.items() if name not in NOT_FOR_ALL}
    file.write_text(to_toml(of_a_sweep))
    (variant,) = read_variants(file)
    assert variant.options == of_a_sweep


def test_a_file_of_options_may_begin_with_a_byte_order_mark_and_quote_any_text(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b'\xef\xbb\xbfsteps = 2\r\ntext = ["1.2.3.4.5.6.7.8.9.txt"]\r\n')
    assert read_toml(path) == {"steps": 2, "text": ["1.2.3.4.5.6.7.8.9.txt"]}


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("wanb", "Did you mean 'wandb'?"),
        ("wandb,trackio", "needs the package trackio; pip install 'glassformer[trackio]'"),
    ],
)
def test_a_logger_that_can_not_be_had_is_answered_before_anything_is_made(
    glassformer, config, tmp_path, monkeypatch, log, said
):
    monkeypatch.setitem(sys.modules, "trackio", None)
    options = ["--config", config, "--out", tmp_path / "run", "--log", log]
    code, _, complaint = glassformer("train", *options)
    assert (code, said in complaint, (tmp_path / "run").exists()) == (2, True, False)


def test_trackio_is_told_the_numbers_of_every_row_and_one_name_for_a_run_that_goes_on(
    glassformer, config, tmp_path, monkeypatch
):
    """Its place is taken: it wants an older Pillow than other packages here."""
    logged: list[tuple[dict[str, float], int]] = []
    names: list[str] = []

    def init(project: str, name: str, resume: str, **_: Any) -> None:
        names.append(f"{project} {name} {resume}")
        print("* Trackio project initialized")

    trackio: Any = ModuleType("trackio")
    trackio.__spec__ = ModuleSpec("trackio", None)
    trackio.init, trackio.finish = init, lambda: None
    trackio.log = lambda numbers, step: logged.append((numbers, step))
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    run = tmp_path / "run"
    code, shown, said = glassformer(
        "train", "--config", config, "--out", run, "--steps", "2", "--log", "trackio"
    )
    assert (code, said, "Trackio" in shown) == (0, "", False)
    rows = read_metrics(run / "metrics.jsonl")
    assert logged == [(numbers_of(row), row["step"]) for row in rows]
    assert glassformer("train", "--resume", "--out", run, "--log", "trackio")[0] == 0
    assert names == [f"glassformer run-{(run / 'logged-as').read_text()} allow"] * 2
