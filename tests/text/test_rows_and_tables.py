"""Facts about compressed files, tables, saved data sets and templates: what is read from them."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from datasets import config as datasets_config
from pyarrow import parquet

from glassformer.errors import GlassformerError
from glassformer.text import shard_writing
from glassformer.text.corpus import Corpus
from glassformer.text.reading import Piece
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.corpora import write_corpus

STORY = "The cat sat on the mat.\n" * 20_000  # several blocks
ROWS = [{"question": "6 x 7?", "answer": 42}, {"question": "Fish?", "answer": "fins"}]
TEXTS = [f"document {number}" for number in range(300)]  # more than are read at once


def compressed(content: bytes, how: str) -> bytes:
    if how == ".gz":
        return gzip.compress(content)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def json_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(texts: list) -> pyarrow.Table:
    return pyarrow.table({"id": [*range(len(texts))], "text": texts})


def write_arrow(path: Path, texts: list[str], new=pyarrow.ipc.new_stream) -> None:
    with new(path, table(texts).schema) as writer:
        writer.write_table(table(texts))


@pytest.mark.parametrize("how", [".gz", ".zst"])
def test_compressed_text_and_rows_are_read_as_if_they_were_not(tmp_path, how):
    text, rows = tmp_path / f"story.txt{how}", tmp_path / f"rows.jsonl{how}"
    text.write_bytes(compressed(STORY.encode(), how))
    rows.write_bytes(compressed(json_lines([{"text": "One."}, {"text": "Two."}]), how))
    assert "".join(Corpus(text).texts()) == STORY
    assert [*Corpus(rows).texts()] == ["One.", "Two."]
    corpus = Corpus(tmp_path)  # the folder's, by their names: rows first
    pieces = [*corpus.pieces()]
    assert pieces[:2] == [Piece("One.", ends_document=True), Piece("Two.", ends_document=True)]
    assert corpus.n_read == corpus.n_bytes == text.stat().st_size + rows.stat().st_size


@pytest.mark.parametrize("how", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_compressed_file_is_answered_in_one_line(tmp_path, how, damage):
    path = tmp_path / f"story.txt{how}"
    stored = compressed(STORY.encode(), how)
    path.write_bytes(stored[: len(stored) // 2] if damage == "cut" else STORY.encode())
    said = rf"story\.txt\{how} can't be decompressed .*: fetch it again"
    with pytest.raises(GlassformerError, match=said):
        list(Corpus(path).pieces())


@pytest.mark.parametrize("form", ["parquet", "stream.arrow", "file.arrow"])
def test_rows_of_a_table_are_documents_in_their_order(tmp_path, form):
    path = tmp_path / f"rows.{form}"
    if form == "parquet":
        parquet.write_table(table(TEXTS), path, row_group_size=100)
    else:
        new = pyarrow.ipc.new_stream if form == "stream.arrow" else pyarrow.ipc.new_file
        write_arrow(path, TEXTS, new)
    corpus = Corpus(path)
    assert [*corpus.texts()] == TEXTS
    assert [*Corpus(tmp_path).texts()] == TEXTS
    assert corpus.n_read == corpus.n_bytes
    assert [row.values for row in corpus.rows()] == table(TEXTS).to_pylist()


def test_a_template_makes_a_document_of_several_fields_in_rows_and_tables(tmp_path):
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(json_lines(ROWS))
    texts = [*Corpus(lines, template="{question}\n{{{answer}}}").texts()]
    assert texts == ["6 x 7?\n{42}", "Fish?\n{fins}"]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"a": ["x", "y"], "b": [1.5, 2.0], "c": [[1], [2]]}), path)
    assert [*Corpus(path, template="{a}={b}").texts()] == ["x=1.5", "y=2.0"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "{question"}, "can't be read"),
        ({"template": "no field"}, "names no field"),
        ({"template": "{question:>9}"}, "write the name of a field alone"),
        ({"template": "{}"}, "write the name of a field alone"),
        ({"template": "{qestion}"}, r"rows\.jsonl:1 has no field 'qestion'.*mean 'question'"),
        ({"template": "{list}"}, r"rows\.jsonl:1: the field 'list' is a list"),
        ({"template": "{none}"}, r"rows\.jsonl:1: the field 'none' is null"),
        ({"template": "{question}", "field": "answer"}, "leave one of both out"),
    ],
)
def test_a_template_that_can_not_be_filled_is_answered_with_its_cause(tmp_path, options, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_lines([{**ROWS[0], "list": [1], "none": None}]))
    with pytest.raises(GlassformerError, match=said):
        list(Corpus(path, **options).pieces())


def test_a_later_row_without_a_templates_field_is_told_that_earlier_ones_have_it(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_lines([{"q": "a", "b": 1}, {"q": "c"}]))
    with pytest.raises(GlassformerError, match=r"rows\.jsonl:2 .*Earlier rows have it; add it to"):
        list(Corpus(path, template="{q}{b}").pieces())


def test_a_bad_row_or_file_of_a_table_is_answered_with_file_and_row(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(table([*TEXTS[:200], None]), path)
    with pytest.raises(GlassformerError, match=r"rows\.parquet, row 201: .*'text' is null"):
        list(Corpus(path).pieces())
    with pytest.raises(GlassformerError, match=r"no column 'txt'.*mean 'text'\? .*--field"):
        list(Corpus(path, field="txt").pieces())
    with pytest.raises(GlassformerError, match=r"rows\.parquet, row 1: .*'id' is a number"):
        list(Corpus(path, field="id").pieces())
    stored = path.read_bytes()
    for content in (stored[: len(stored) // 2], b"no table at all"):
        path.write_bytes(content)
        with pytest.raises(GlassformerError, match=r"rows\.parquet can't be read as parquet"):
            list(Corpus(path).pieces())
    arrow = tmp_path / "rows.arrow"
    write_arrow(arrow, TEXTS)
    arrow.write_bytes(arrow.read_bytes()[:2000])
    with pytest.raises(GlassformerError, match=r"rows\.arrow can't be read as Arrow"):
        list(Corpus(arrow).pieces())


def test_how_far_a_text_is_read_is_told_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writing, "BATCH_CHARACTERS", 5_000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(STORY.encode()))
    parquet.write_table(table(TEXTS * 10), tmp_path / "b.parquet")
    shares: list[float] = []
    words = Tokenizer.train("words", [STORY, *TEXTS])
    write_corpus(tmp_path / "shard", Corpus(tmp_path), words, shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 10
    assert 0 < shares[0] < shares[-1] <= 1


def test_a_text_file_has_no_rows_and_a_compressed_table_is_to_be_unpacked(tmp_path):
    text = tmp_path / "story.txt"
    text.write_text(STORY)
    with pytest.raises(GlassformerError, match=r"story\.txt has no rows"):
        Corpus(text).rows()
    packed = tmp_path / "rows.parquet.gz"
    packed.write_bytes(gzip.compress(b"x"))
    with pytest.raises(GlassformerError, match=r"rows\.parquet\.gz is .*unpack it"):
        list(Corpus(packed).pieces())


def test_a_data_set_that_was_saved_to_disk_is_read_its_train_split_of_several(tmp_path):
    splits: Any = {
        name: datasets.Dataset.from_dict({"text": [f"{name} {text}" for text in TEXTS]})
        for name in ("test", "train")
    }
    mixed = splits["train"].shuffle(seed=1)
    mixed.save_to_disk(tmp_path / "one", num_shards=3)
    assert [*Corpus(tmp_path / "one").texts()] == mixed["text"][:]
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "both")
    assert [*Corpus(tmp_path / "both").texts()] == splits["train"]["text"][:]
    assert [*Corpus(tmp_path / "both/test").texts()] == splits["test"]["text"][:]
    datasets.DatasetDict({"left": splits["test"]}).save_to_disk(tmp_path / "left")
    with pytest.raises(GlassformerError, match=r"no split 'train'; give .*left/left"):
        Corpus(tmp_path / "left")
    (tmp_path / "one/data-00001-of-00003.arrow").unlink()
    with pytest.raises(GlassformerError, match=r"data-00001-of-00003\.arrow is missing"):
        Corpus(tmp_path / "one")


NAME = "someone/stories"


@pytest.fixture
def cached(tmp_path, monkeypatch) -> None:
    """A data set in the cache of `datasets`, as it keeps one of the hub's; no network."""
    monkeypatch.setattr(datasets_config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path / "cache")
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(json_lines([{"text": text} for text in TEXTS]))
    built = datasets.load_dataset_builder("json", data_files={"train": str(lines)})
    built.download_and_prepare()
    kept = tmp_path / "cache/someone___stories/default/0.0.0"
    kept.mkdir(parents=True)
    built_in = Path(built.cache_dir)
    info = json.loads((built_in / "dataset_info.json").read_text())
    info |= {"config_name": "default", "dataset_name": "stories"}
    (built_in / "dataset_info.json").write_text(json.dumps(info))
    (built_in / "json-train.arrow").rename(built_in / "stories-train.arrow")
    built_in.rename(kept / built_in.name)


@pytest.mark.usefixtures("cached")
def test_a_hub_data_set_in_the_local_cache_is_read_by_its_name_without_network():
    assert [*Corpus(NAME).texts()] == TEXTS
    assert [*Corpus(f"hf:{NAME}:default@train").texts()] == TEXTS


@pytest.mark.usefixtures("cached")
def test_a_hub_data_set_that_can_not_be_had_is_answered_in_one_line():
    with pytest.raises(GlassformerError, match="there is no file or folder someone/tales"):
        Corpus("someone/tales")  # without hf: nothing asks the network
    with pytest.raises(GlassformerError, match="there is no file or folder"):
        Corpus("stories/today.txt")
    for name in ("hf:someone/tales", f"hf:{NAME}@test"):
        with pytest.raises(GlassformerError, match=r"can't be had from the Hugging Face hub"):
            Corpus(name)
    with pytest.raises(GlassformerError, match="is no name of a hub data set"):
        Corpus("hf:tales")


def test_without_the_extra_the_line_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    parquet.write_table(table(TEXTS), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(GlassformerError, match=r"pip install 'glassformer\[data\]'"):
        list(Corpus(path).pieces())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(GlassformerError, match=r"pip install 'glassformer\[data\]'"):
        Corpus("hf:someone/stories")


# In a process of its own, so that its memory is its own; RssAnon is the heap, no memory map.
GROWTH = """
import sys
from pathlib import Path
from typing import Any
import pyarrow
from pyarrow import parquet
from glassformer.text import shard_writing
from glassformer.text.corpus import Corpus

def heap():
    return 1024 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

pyarrow.set_memory_pool(pyarrow.system_memory_pool())
start = most = None
for number, text in enumerate(Corpus(sys.argv[1]).texts()):
    if number == 200:
        start = most = heap()
    elif number > 200 and number % 200 == 0:
        most = max(most, heap())
print(most - start)
"""


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_table_is_read_in_memory_that_does_not_grow_with_it(tmp_path, form):
    text = "".join(chr(97 + (7 * i * i + i // 5) % 26) for i in range(10_000))
    texts = [f"{number} {text}" for number in range(10_000)]  # 100 MB, one row group
    path = tmp_path / f"rows.{form}"
    if form == "parquet":
        parquet.write_table(table(texts), path, row_group_size=10**6, compression="none")
    else:
        write_arrow(path, texts)
    result = subprocess.run([sys.executable, "-c", GROWTH, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # 25 to 32 MB for 100 or 300 MB of parquet: its dictionary, a page, and batches of 1.3 MB
    assert int(result.stdout) < 50 * 10**6, f"{int(result.stdout):,} bytes"
