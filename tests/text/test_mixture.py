"""Facts about mixtures: how much of each text is read, in which order, and how often."""

import json
from collections import Counter

import pytest

from glassformer.errors import GlassformerError
from glassformer.interop import load
from glassformer.text.corpus import Corpus
from glassformer.text.mixture import PERIOD, Mixture, name_of, parse_weights, parts_of
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.corpora import open_data
from glassformer.training.data import BlocksData, whole_text
from glassformer.training.evaluate import evaluate
from glassformer.training.run import read_description
from tests.command_line import columns as columns
from tests.command_line import glassformer as glassformer

TOKENIZER = Tokenizer.train("words", ["a b c"])
N_CTX = 4
WEIGHTS = {"a": 6.0, "b": 3.0, "c": 1.0}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Mixture:
    """Three texts of one letter each, of different lengths; b is rows."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.txt").write_text("a " * 2000)
    (folder / "b.jsonl").write_text(
        "".join(json.dumps({"text": "b " * 50}) + "\n" for _ in "x" * 9)
    )
    (folder / "c.txt").write_text("c " * 90)
    paths = [str(path) for path in sorted(folder.iterdir())]
    corpus = Corpus(paths)
    shard = write_shard(folder / "shard", corpus.pieces(), TOKENIZER)
    assert corpus.n_documents == [1, 9, 1]
    names = [name_of(path) for path in paths]
    return Mixture(shard, N_CTX, parts_of(shard, names, WEIGHTS, corpus.n_documents))


def letters(mixture: Mixture, first: int, end: int) -> list[str]:
    """Which text each of these blocks is from."""
    result = []
    for row in mixture.batch(0, seed=3, batch_size=end)[0][first:end].tolist():
        words = {TOKENIZER.token(token) for token in row} - {"<eos>"}
        assert len(words) == 1, "a block is of one text"
        result.append(words.pop())
    return result


def test_each_text_has_exactly_its_share_of_every_thousand_blocks(mixture):
    for period in range(2):
        blocks = letters(mixture, period * PERIOD, (period + 1) * PERIOD)
        assert Counter(blocks) == {"a": 600, "b": 300, "c": 100}
    assert letters(mixture, 0, 40) != letters(mixture, PERIOD, PERIOD + 40)


def test_the_order_follows_from_seed_and_step_alone(mixture):
    mixed = mixture.batch(0, seed=3, batch_size=24)
    parts = [mixture.batch(step, seed=3, batch_size=8) for step in (2, 0, 1)]
    assert mixed[0][16:].equal(parts[0][0])
    assert mixed[1][8:16].equal(parts[2][1])
    assert not mixed[0].equal(mixture.batch(0, seed=4, batch_size=24)[0])


def test_each_text_is_read_whole_before_any_of_it_is_read_again(mixture):
    drawn = [mixture.source(number, seed=3) for number in range(2 * PERIOD)]
    for text in range(3):
        assert [n for index, n in drawn if index == text] == [*range(2 * mixture.quotas[text])]


def test_held_out_blocks_are_no_training_ones_and_in_the_texts_proportions(mixture):
    batches = [*mixture.evaluation(8)]
    tokens = Counter(t for _, y in batches for t in y.flatten().tolist() if t >= 0)
    of = {word: tokens[TOKENIZER.encode(word)[0]] for word in "abc"}
    assert 5 <= of["c"] <= 10  # a tenth of the shortest text decides
    assert of["a"] / of["c"] == pytest.approx(6, rel=0.35)  # blocks are of four tokens
    trained = [text.split for text in mixture.texts]
    assert all(
        w.first >= split
        for text, split in zip(mixture.texts, trained, strict=True)
        for w in text.held_out_windows()
    )


def test_what_a_guess_by_frequency_knows_is_the_mixture(mixture):
    counts = mixture.counts().double()
    shares = {w: float(counts[TOKENIZER.encode(w)[0]] / counts.sum()) for w in "abc"}
    assert shares == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.01)  # less the separators
    assert BlocksData(mixture).describe()["parts"][1][:2] == ["b", 0.3]


@pytest.mark.parametrize("text", ["a", "a=0", "a=x", "a=-1", "=1", "a=1,a=2", "a=inf"])
def test_weights_that_are_none_are_refused(text):
    with pytest.raises(GlassformerError, match="write stories=0"):
        parse_weights(text)


def test_a_mixture_is_trained_from_the_command_line_and_resumed(glassformer, tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "bees.txt"]
    for path in paths:
        path.write_text(f"this is the text {path.stem}. " * 60)
    tiny = ["--tokenizer", "chars", "--n-ctx", "8", "--d-model", "8", "--n-layers", "1"]
    tiny += ["--n-heads", "1", "--batch-size", "2", "--steps", "4"]
    run = tmp_path / "run"
    options = [*paths, *tiny, "--out", run]
    code, _, said = glassformer("train", *options, "--weights", "a=0.7,bes=0.3")
    assert (code, "'bes' is for no text; they are called a, bees. Did you mean 'bees'" in said) == (
        2,
        True,
    )
    code, _, said = glassformer("train", *options, "--weights", "a=1")
    assert (code, "'bees' has no weight" in said) == (2, True)
    mixed = ["--weights", "a=3,bees=1", "--document-mask"]
    code, shown, said = glassformer("train", *options, *mixed)
    assert (code, said) == (0, "")
    assert "of every 1,000 blocks 750 are from a" in shown
    described = read_description(run)
    parts = described.corpus["parts"]
    assert [(part["name"], part["weight"]) for part in parts] == [("a", 0.75), ("bees", 0.25)]
    assert glassformer("train", "--out", run, "--resume")[0] == 0
    data = open_data(run / "data", described.corpus, Tokenizer.load(run), described.recipe)
    assert [*data.batch(0, 2).extra] == ["begins"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"this is {n}"}) + "\n" for n in "abcdefgh"))
    measured = json.loads(glassformer("eval", run, rows, "--json").stdout)["loss"]
    model, tokenizer = load(run)
    assert tokenizer is not None
    shard = write_shard(tmp_path / "shard", Corpus(rows).pieces(), tokenizer)
    alone, crossing = (
        evaluate(model, whole_text(shard, 8, 4, document_mask=mask)).loss for mask in (True, False)
    )
    assert measured == pytest.approx(alone, abs=1e-6)  # of batches of another size
    assert abs(measured - crossing) > 1e-4
