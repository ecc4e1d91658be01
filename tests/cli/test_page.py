"""`glassformer page`: one HTML file about one prompt."""

import pytest
import tokenizers

from glassformer.cli.page import DEMO, command, say_snapshots
from glassformer.errors import GlassformerError
from glassformer.interop import save
from glassformer.server.schemas import PackedSnapshots
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import open_train_state
from tests.server.served import data_block


def test_it_writes_the_page_and_says_where(tmp_path, capsys):
    file = tmp_path / "new" / "page.html"
    command("worked_example", "the cat sat on", file, target="the")
    assert f"{file.stat().st_size:,} bytes" in capsys.readouterr().out
    data = data_block(file.read_text(encoding="utf-8"))
    assert (data["first"]["prompt"], data["first"]["target"]) == ("the cat sat on", "the")
    assert list(data["models"]) == ["worked-example"]


@pytest.mark.parametrize(
    ("limit", "message"), [(10_000, "optimizer"), (100, "backward and optimizer")]
)
def test_it_says_what_was_left_out(tmp_path, capsys, monkeypatch, limit, message):
    monkeypatch.setattr("glassformer.server.runnable.MODEL_BYTES", 0)
    monkeypatch.setattr("glassformer.server.export.VALUE_BYTES", limit)
    command("miniature", "the cat sat", tmp_path / "page.html")
    said = " ".join(capsys.readouterr().out.split())
    assert f"Left out for its size: {message};" in said
    assert "recorded numbers, of this prompt alone, because its weights take" in said


def test_a_file_says_that_the_page_lacks_a_model_s_kind_of_tokenizer(tmp_path, capsys):
    model = open_train_state("miniature").model
    engine = tokenizers.Tokenizer(tokenizers.models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0))
    save(model, Tokenizer(engine), tmp_path / "model")
    command(str(tmp_path / "model"), "aa", tmp_path / "page.html")
    why = "a page has no tokenizer like its own (unigram)"
    said = capsys.readouterr().out.splitlines()
    assert f"because {why}." in " ".join(said)
    assert max(map(len, said[1:])) <= 80
    assert data_block((tmp_path / "page.html").read_text(encoding="utf-8"))["recorded"] == why


def test_the_same_page_is_written_again(tmp_path):
    pages = []
    for name in ("a.html", "b.html"):
        command("miniature", "the cat", tmp_path / name)
        pages.append(data_block((tmp_path / name).read_text(encoding="utf-8")))
    assert pages[0] == pages[1]


def test_without_a_run_it_writes_a_gallery_and_says_what_the_demo_would_add(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command()
    assert "`glassformer demo` trains one" in capsys.readouterr().out
    data = data_block((tmp_path / "glassformer.html").read_text(encoding="utf-8"))
    assert list(data["models"]) == ["miniature", "worked-example"]
    save(open_train_state("miniature").model, open_train_state("miniature").tokenizer, DEMO)
    command(out=tmp_path / "all.html")
    assert "demo" not in capsys.readouterr().out
    data = data_block((tmp_path / "all.html").read_text(encoding="utf-8"))
    assert list(data["models"]) == ["demo", "miniature", "worked-example"]
    assert data["first"]["run"] == "demo"
    with pytest.raises(GlassformerError, match="name one"):
        command(target="mat")


def test_a_run_alone_opens_with_a_prompt_that_suits_it(tmp_path):
    command("miniature", out=tmp_path / "page.html")
    data = data_block((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert (data["first"]["prompt"], data["first"]["target"]) == ("the cat sat on the", "mat")


def test_fewer_snapshots_than_asked_for_are_said_and_the_model_itself_counts_as_the_last(capsys):
    held = PackedSnapshots(grids=[1.0], steps={0: "", 1: ""}, grid=64, moved=0.0)
    say_snapshots(held, 3)
    assert "all that the run has kept" not in capsys.readouterr().out
    say_snapshots(held, 4)
    assert "It holds 2 earlier steps of its training, all that the run has kept" in (
        capsys.readouterr().out
    )
