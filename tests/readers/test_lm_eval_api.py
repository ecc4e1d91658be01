"""lm-eval scores a model through the API as it scores its folder, on a task of its own."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from tests.parity import hugging_face  # noqa: F401 (it keeps transformers off the network)
from tests.readers.exported import exported, strings
from tests.server.served import listening

pytestmark = pytest.mark.heavy

CLOSE = 1e-4

TASKS = {
    "local_choice": """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: brier_score}]
""",
    "local_perplexity": """
task: local_perplexity
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_lm_eval_through_the_api_equals_lm_eval_on_the_folder(family, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    evaluator = importlib.import_module("lm_eval.evaluator")
    tasks = importlib.import_module("lm_eval.tasks")
    model = exported(tmp_path / "model", family)
    file = tmp_path / "test.json"
    texts = [text for text in strings(60) if len(text.strip()) > 9]
    rows = [
        {
            "context": text,
            "choices": [" cat", " the mat", " isn't"],
            "gold": n % 3,
            "text": f"{text} the cat sat on the mat " * 3,
        }
        for n, text in enumerate(texts)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    for name, task in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(task.replace("FILE", str(file)))
    known = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)

    def scores(kind: str, **arguments: object) -> dict[str, dict[str, float]]:
        said = evaluator.simple_evaluate(
            model=kind,
            model_args=arguments,
            tasks=[*TASKS],
            task_manager=known,
            batch_size=4,
            bootstrap_iters=0,
        )
        assert said is not None
        return said["results"]

    # an API's window has room for the token that it adds; a rolling one gives up one more
    window = model.config.n_ctx - 2
    folder = str(tmp_path / "model")
    expected = scores("hf", pretrained=folder, device="cpu", dtype="float32", max_length=window)
    with listening(create_app(Runs([folder]))) as (port, _):
        got = scores(
            "local-completions",
            model="model",
            base_url=f"http://127.0.0.1:{port}/v1/completions",
            tokenizer=folder,
            max_length=model.config.n_ctx,
            num_concurrent=1,
        )
    for task in TASKS:
        numbers = {name: x for name, x in expected[task].items() if isinstance(x, float)}
        assert len(numbers) >= 3
        for name, number in numbers.items():
            # a perplexity is a power of e, so an error of its logarithm is a share of it
            assert got[task][name] == pytest.approx(number, abs=CLOSE, rel=CLOSE), (task, name)


def test_lm_eval_cuts_texts_by_the_server_alone(tmp_path):
    utils = importlib.import_module("lm_eval.utils")
    ours = exported(Path(tmp_path / "model"), "gpt2").tokenizer
    assert ours is not None
    with listening(create_app(Runs([str(tmp_path / "model")]))) as (port, _):
        theirs = utils.RemoteTokenizer(f"http://127.0.0.1:{port}/v1/completions")
        assert theirs.encode("the cat isn't here") == ours.encode("the cat isn't here")
        assert theirs.decode(ours.encode("the mat")) == "the mat"
        assert theirs.eos_token == ours.eos
