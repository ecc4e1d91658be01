"""What a folder says beside its weights is obeyed, and written back as it was read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

import glassformer as gf
from glassformer.errors import GlassformerError, GlassformerWarning
from glassformer.generation.defaults import end_ids, read_defaults
from glassformer.generation.sampling import Sampling
from glassformer.interop.folder import load_folder, save
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.choices import Choices
from glassformer.training.prepare import new_run, resumed_run
from tests.interop.models import ODD, random_model

TEXT = "the cat sat on the mat. the dog sat on the cat. "
GENERATION = {
    "bos_token_id": 0,
    "eos_token_id": [1, 260],
    "pad_token_id": 2,
    "do_sample": True,
    "temperature": 0.6,
    "top_k": 0,
    "top_p": 0.9,
    "max_new_tokens": 7,
    "num_beams": 1,
    "no_repeat_ngram_size": 3,
}
HARMLESS: dict[str, Any] = {
    "n_special": 0,
    "predict_special_tokens": True,
    "num_labels": 1,
    "xla_device": None,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "id2label": {"0": "LABEL_0"},
    "summary_type": "cls_index",
    "use_cache": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "_a_note_of_some_program": 5,
    "nobody_knows_it_and_it_is_empty": None,
}


def engine() -> tokenizers.Tokenizer:
    """Byte-level BPE with three special tokens; every text begins with <s>."""
    result = tokenizers.Tokenizer(models.BPE())
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<s>", "</s>", "<pad>"],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    result.train_from_iterator([TEXT * 9], trainer)
    result.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder from elsewhere, whose model has 8 ids more than the tokenizer has tokens."""
    odd = tmp_path / "elsewhere"
    save(random_model(ODD.replace(vocab_size=288)), None, odd)
    config = json.loads((odd / "config.json").read_text())
    del config["glassformer"]
    (odd / "config.json").write_text(json.dumps({**config, **HARMLESS}))
    (odd / "generation_config.json").write_text(json.dumps(GENERATION))
    engine().save(str(odd / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"}
    (odd / "tokenizer_config.json").write_text(json.dumps({**names, "model_max_length": 11}))
    (odd / "chat_template.jinja").write_text("{{ messages }}")
    return odd


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def load(folder: Path) -> tuple[Any, Tokenizer]:
    model, tokenizer = load_folder(folder)
    assert tokenizer is not None
    return model, tokenizer


def unchanged(new: Path, old: Path) -> bool:
    """Whether a written folder says what the one it was made of said."""
    config = read(new, "config")
    assert {name: config[name] for name in HARMLESS} == HARMLESS
    for name in ("generation_config", "tokenizer_config", "tokenizer"):
        assert read(new, name) == read(old, name)
    return (new / "chat_template.jinja").read_text() == "{{ messages }}"


def test_what_was_read_is_written_back(folder, tmp_path):
    save(*load(folder), tmp_path / "copy")
    assert unchanged(tmp_path / "copy", folder)
    save(*load(tmp_path / "copy"), tmp_path / "again")
    assert unchanged(tmp_path / "again", folder)


def test_end_tokens_settings_and_what_is_not_done_are_known(folder):
    model, tokenizer = load(folder)
    assert end_ids(model, tokenizer) == (1, 260)
    defaults = read_defaults(model.folder_settings)
    assert defaults.settings == {"temperature": 0.6, "top_p": 0.9}  # top_k=0: all of them
    assert defaults.max_new_tokens == 7
    assert defaults.not_done == ("no_repeat_ngram_size=3",)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2)


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": 5}, {"eos_token_id": 6}, (5,)),
        ({}, {"eos_token_id": [6, 7]}, (6, 7)),
        ({"eos_token_id": None}, {"eos_token_id": None}, (1,)),  # the tokenizer's own
    ],
)
def test_end_tokens_are_those_of_generation_config_then_of_config_then_of_the_tokenizer(
    folder, generation, config, expected
):
    (folder / "generation_config.json").write_text(json.dumps(generation))
    settings = {**read(folder, "config"), **config}
    (folder / "config.json").write_text(json.dumps(settings))
    assert end_ids(*load(folder)) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eos_token_id": "</s>"}, "eos_token_id='</s>' is no token's id"),
        ({"eos_token_id": [1, None]}, "is no token's id"),
        ({"temperature": -1}, "generation_config.json: temperature=-1 is negative"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1 is not a whole number"),
        ({"max_length": 2.5}, "max_length=2.5 is not a whole number"),
        ({"stop_strings": ["a", 3]}, "is neither a text nor a list of texts"),
    ],
)
def test_a_generation_config_that_cannot_be_obeyed_is_refused(folder, settings, message):
    (folder / "generation_config.json").write_text(json.dumps(settings))
    with pytest.raises(GlassformerError, match=message):
        read_defaults(load(folder)[0].folder_settings)


def test_generate_takes_what_is_not_asked_for_from_the_folder(folder):
    settings = {"temperature": 0.6, "top_k": 5, "repetition_penalty": 1.3, "max_length": 9}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    model, _ = load(folder)
    text = gf.generate(model, [5, 6, 7], seed=1)
    assert text.sampling == Sampling(0.6, top_k=5, repetition_penalty=1.3)
    assert len(list(text)) == 6  # max_length counts the prompt too
    assert text.finish_reason == "length"
    long, short = gf.generate_batch(model, [[5, 6, 7, 8], [5]], seed=1)
    assert (len(long.new), len(short.new)) == (5, 8)
    assert [*gf.generate(model, [5] * 9)] == []
    asked = gf.generate(model, [5, 6, 7], temperature=0, top_k=2, max_new_tokens=2, seed=1)
    assert asked.sampling == Sampling(0, top_k=2, repetition_penalty=1.3)
    assert len(list(asked)) == 2


def test_do_sample_false_is_greedy(folder):
    (folder / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.7}')
    assert read_defaults(load(folder)[0].folder_settings).settings == {"temperature": 0}


def test_a_prompt_and_every_document_begin_as_the_template_says(folder, tmp_path):
    _, tokenizer = load(folder)
    assert tokenizer.begin_ids == [0]
    assert tokenizer.encode_prompt("the cat") == [0, *tokenizer.encode("the cat")]
    assert tokenizer.encode_prompt("") == [0]
    shard = write_shard(tmp_path / "shard", ["the cat", "a"], tokenizer)
    one, two = tokenizer.encode("the cat"), tokenizer.encode("a")
    assert shard.tokens.tolist() == [1, 0, *one, 1, 0, *two, 1]
    assert shard.documents.tolist() == [1, 3 + len(one)]


def test_a_template_that_begins_with_the_separator_finds_it_there(folder, tmp_path):
    content = read(folder, "tokenizer")
    content["post_processor"] = {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["</s>", 1]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    _, tokenizer = load(folder)
    assert tokenizer.encode_prompt("a") == [1, *tokenizer.encode("a")]
    shard = write_shard(tmp_path / "shard", ["a"], tokenizer)
    assert shard.tokens.tolist() == [1, *tokenizer.encode("a"), 1]


def test_dropout_padding_and_truncation_are_switched_off_said_and_written_back(folder, tmp_path):
    content = read(folder, "tokenizer")
    content["model"]["dropout"] = 0.5
    content["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.warns(GlassformerWarning, match=r"BPE dropout of 0\.5.* is switched off"):
        _, tokenizer = load(folder)
    assert len({tuple(tokenizer.encode(TEXT)) for _ in range(20)}) == 1
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    tokenizer.save(tmp_path / "copy")
    assert read(tmp_path / "copy", "tokenizer") == content


def test_ids_without_a_token_spell_nothing(folder):
    _, tokenizer = load(folder)
    assert tokenizer.decode_known([*tokenizer.encode("the cat"), 287]) == "the cat"


def test_a_run_from_a_folder_keeps_what_it_says_also_when_it_is_resumed(folder, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT * 30)
    recipe = {"steps": 2, "batch_size": 2, "eval_every": 0, "snapshot_mb": 0}
    choices = Choices((str(tmp_path / "text.txt"),), start_from=str(folder), recipe=recipe)
    prepared = new_run(tmp_path / "run", choices)
    with prepared.run as run:
        run.export(prepared.model)
    assert unchanged(tmp_path / "run", folder)
    resumed = resumed_run(tmp_path / "run")
    with resumed.run as run:
        run.export(resumed.model)
    assert unchanged(tmp_path / "run", folder)


def test_vocab_and_merges_are_read_and_written_as_a_tokenizer_json(folder, tmp_path):
    _, theirs = load(folder)
    content = read(folder, "tokenizer")["model"]
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    (old / "tokenizer.json").unlink()
    merges = "".join(f"{left} {right}\n" for left, right in content["merges"])
    (old / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    (old / "vocab.json").write_text(json.dumps(content["vocab"]))
    added = {"<|user|>": theirs.vocab_size}
    (old / "added_tokens.json").write_text(json.dumps(added))
    config = {**read(folder, "tokenizer_config"), "tokenizer_class": "GPT2Tokenizer"}
    (old / "tokenizer_config.json").write_text(json.dumps(config))
    model, tokenizer = load(old)
    assert tokenizer.encode(TEXT) == theirs.encode(TEXT)
    assert tokenizer.encode("<|user|>") == [theirs.vocab_size]
    assert tokenizer.decode([0, *tokenizer.encode("a cat"), 1]) == "a cat"
    save(model, tokenizer, tmp_path / "new")
    assert load(tmp_path / "new")[1].encode(TEXT) == theirs.encode(TEXT)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", '{"tokenizer_class": "CTRLTokenizer"}', "of a CTRLTokenizer"),
        ("added_tokens.json", '{"<|user|>": 7}', "has id 7 and would be 3 after vocab.json"),
        ("added_tokens.json", "[", "is not valid JSON"),
        ("merges.txt", "a z\n", "are no vocabulary of a BPE"),
    ],
)
def test_a_vocabulary_that_is_not_gpt2s_is_answered_with_the_way_out(
    tmp_path, name, content, message
):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / name).write_text(content)
    with pytest.raises(GlassformerError, match=message):
        Tokenizer.load(tmp_path)
