"""`glassformer train` on a text of any length: what it chooses, learns and says."""

import re

import pytest

from glassformer.cli.console import SafeConsole
from glassformer.cli.recall import recall
from glassformer.cli.training import print_outcome, train_showing
from glassformer.generation.generate import generate
from glassformer.model import load_preset
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.choices import Choices
from glassformer.training.examples import unfinished
from glassformer.training.prepare import new_run
from glassformer.training.run import read_metrics
from glassformer.training.sizing import Measured, measured, sized
from tests.calculator import gives

STORY = """\
The cat sat on the mat. The dog ran in the park. The cat and dog played together.
They became friends. The cat liked the mat. The dog liked the park.
"""


def prepared(tmp_path, text, name="run", **choices):
    path = tmp_path / f"{name}.txt"
    path.write_text(text)
    return new_run(tmp_path / name, Choices(texts=(str(path),), **choices))


def ends(notes, what):
    return [note for note in notes if what in note]


@pytest.mark.parametrize("seed", [0, 1])
def test_six_sentences_are_learned_whole_with_no_options(tmp_path, capsys, seed):
    begun = prepared(tmp_path, STORY, recipe={"seed": seed} if seed else {})
    with begun.run:
        outcome, _ = train_showing(begun, SafeConsole())
        print_outcome(outcome, begun, recall(begun), SafeConsole())
    assert 800 < sum(p.numel() for p in begun.model.parameters()) < 1_300
    assert [asked.spelled() for asked in recall(begun)] == [
        "The cat sat on the -> mat",
        "The dog liked the -> park",
    ]
    said = capsys.readouterr().out
    assert "the whole text is learned" in said
    assert "held-out" not in said
    order = ("done after", "The cat sat on the -> mat", "the model is in", "glassformer export")
    assert sorted(order, key=said.index) == list(order)  # what to type next comes last
    rows = read_metrics(begun.run.folder / "metrics.jsonl")
    assert not [row for row in rows if "val_loss" in row]
    measured = [row["text_loss"] for row in rows if "text_loss" in row]
    assert measured[-1] < 0.2 < measured[0]  # the first words of a document can't be known
    assert outcome.reason == "finished"


def test_the_numbers_of_the_plan_follow_from_each_other_as_printed(tmp_path, capsys):
    begun = prepared(tmp_path, STORY, recipe={"steps": 30})
    with begun.run:
        train_showing(begun, SafeConsole())
    said = " ".join(capsys.readouterr().out.split())
    result = re.search(
        r"model ([\d,]+) parameters text (\d+) training tokens; ([\d.]+) tokens seen per parameter,"
        r" each about (\d+) times.* memory (\d+) KB of weights.* (\d+) steps of \d+ ms for (\d+)"
        r" tokens for comparison: knowing nothing ([\d.]+)",
        said,
    )
    assert result, said
    parameters, tokens, each, times, memory, steps, at_once, nothing = result.groups()
    seen = f"{steps} * {at_once}"
    assert gives(f"{seen} / {parameters.replace(',', '')}", each)
    assert gives(f"{seen} / {tokens}", times)
    # fp32 weights, gradients and AdamW's two moments: four numbers of four bytes
    assert gives(f"4 * 4 * {parameters.replace(',', '')} / 1000", memory)
    assert gives(f"log({begun.run.tokenizer.vocab_size})", nothing)


def test_one_sentence_is_learned_whole(tmp_path):
    begun = prepared(tmp_path, "the cat sat on a mat.")
    with begun.run:
        train_showing(begun, SafeConsole(quiet=True))
    tokenizer = begun.run.tokenizer
    ids = tokenizer.encode("the cat sat on a")
    new = [*generate(begun.model, ids, temperature=0, stop_ids=[tokenizer.eos_id or 0])]
    assert tokenizer.decode([*ids, *new]) == "the cat sat on a mat."


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("buffalo " * 200, [("buffalo buffalo buffalo buffalo", "buffalo")]),
        (
            "Roses are red,\nviolets are blue,\nsugar is sweet",
            [("Roses are red, violets are blue,", "sugar")],
        ),
        ("جَلَسَ الْقِطُّ عَلَى الْبِسَاطِ. رَكَضَ الْكَلْبُ.", [("جَلَسَ الْقِطُّ عَلَى", "الْبِسَاطِ"), ("رَكَضَ", "الْكَلْبُ")]),
        (
            "I have a 🐱. It eats 🐟 at home. At night the 🌙 shines 🇫🇷.",
            [("It eats 🐟 at", "home")],
        ),
        (
            "बिल्ली चटाई पर बैठी। कुत्ता पार्क में दौड़ा।",
            [("बिल्ली चटाई पर", "बैठी"), ("कुत्ता पार्क में", "दौड़ा")],
        ),
    ],
    ids=["one word", "no full stop", "Arabic", "emoji", "Hindi"],
)
def test_the_ends_of_its_own_sentences_are_asked_for_whatever_the_text(tmp_path, text, asked):
    begun = prepared(tmp_path, text)
    begun.run.close()
    assert unfinished(begun.run.tokenizer, begun.model.config.n_ctx, begun.run.data) == asked


def test_the_choices_grow_with_the_text_up_to_todays_defaults():
    preset = load_preset("text")
    lengths = [10, 150, 1_000, 5_000, 20_000, 100_000, 500_000, 999_999]
    tables = [sized(Measured(n, 0.2), preset) for n in lengths]
    for name in ("d_model", "n_layers", "n_heads", "n_ctx"):
        sizes = [table["model"][name] for table in tables]
        assert sizes == sorted(sizes)
        assert sizes[-1] == preset["model"][name]
    rates = [table["training"]["lr"] for table in tables]
    assert rates == sorted(rates, reverse=True)
    assert all(t["model"]["d_model"] % t["model"]["n_heads"] == 0 for t in tables)
    assert [t["tokenizer"]["kind"] for t in tables] == ["words"] * 3 + ["bpe"] * 5
    assert sized(Measured(1_000_000, 0.2), preset) is preset
    assert sized(measured(["word " * 250_000]), preset) is preset


def test_a_script_without_spaces_is_learned_by_letters():
    preset = load_preset("text")
    story = sized(measured(["猫坐在垫子上。狗在公园里跑。"]), preset)
    assert story["tokenizer"]["kind"] == "chars"
    assert story["model"]["n_ctx"] > sized(measured([STORY]), preset)["model"]["n_ctx"]


def test_options_win_and_the_choices_are_said(tmp_path):
    choices = {"model": {"d_model": 12}, "recipe": {"steps": 5}, "tokenizer": "chars"}
    begun = prepared(tmp_path, STORY, **choices)
    begun.run.close()
    assert (begun.model.config.d_model, begun.recipe.steps) == (12, 5)
    assert begun.run.tokenizer.kind == "chars"
    assert ends(begun.notes, "for a text of 150 characters: tokenizer chars, n_ctx 64, d_model 12")


def test_a_preset_is_taken_as_it_is_and_its_size_is_warned_of(tmp_path):
    begun = prepared(tmp_path, STORY, preset="text")
    begun.run.close()
    assert begun.model.config.d_model == 128
    assert begun.notes[0].startswith("the whole text is learned")
    assert ends(begun.notes, "are out of proportion to")
    for text, name in ((STORY, "fitting"), ("猫", "tiny")):  # nobody chose these sizes
        fitting = prepared(tmp_path, text, name)
        fitting.run.close()
        assert not ends(fitting.notes, "are out of proportion to")


def test_a_longer_text_holds_a_tenth_out(tmp_path):
    begun = prepared(tmp_path, STORY * 40)
    begun.run.close()
    assert begun.data.holds_out
    assert not ends(begun.notes, "whole text")
    assert isinstance(begun.run.tokenizer, Tokenizer)
