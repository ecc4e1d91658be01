"""A run of adapters (LoRA) on the page: it runs there, and every number is Python's."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from glassformer.model.parts import Lora
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.training.choices import Choices
from glassformer.training.prepare import new_run
from glassformer.training.train_state import open_train_state
from tests.browser.serving import serve
from tests.browser.test_engine import close_to, opened, shown
from tests.browser.test_page import VIEWS, problems_of_views
from tests.pages import export
from tests.training.small import finished

TEXT = "the cat sat on the mat and the dog sat on the log . " * 40
PROMPT, OTHER = "the cat sat on the", "the dog sat"
CELLS = [
    "weight/blocks.0.attn.lora_Q.A[d_model=3,d_lora=1]",
    "fwd/blocks.0.attn.lora_Q.down[batch=0,pos=2,d_lora=1]",
    "fwd/blocks.1.mlp.lora_in.scaled[batch=0,pos=2,d_mlp=5]",
    "fwd/blocks.0.attn.q[batch=0,pos=2,head=1,d_head=1]",
    "fwd/loss",
    "bwd/blocks.1.mlp.lora_in.B[d_lora=0,d_mlp=5]",
    "opt/blocks.0.attn.lora_Q.A[d_model=3,d_lora=1]",
]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has trained adapters beside a small model."""
    folder = tmp_path_factory.mktemp("adapters")
    (folder / "text.txt").write_text(TEXT)
    sizes = {"n_ctx": 16, "d_model": 8, "n_layers": 2, "n_heads": 2}
    options = {
        "texts": (str(folder / "text.txt"),),
        "recipe": {"steps": 8, "batch_size": 2, "lr": 1e-2, "warmup_steps": 1},
        "device": "cpu",
    }
    finished(new_run(folder / "base", Choices(**options, tokenizer="words", model=sizes)))
    lora = Lora(rank=2, alpha=4.0, on=("W_Q", "W_K", "W_O", "W_in"))
    further = Choices(**options, start_from=str(folder / "base"), lora=lora)
    finished(new_run(folder / "adapted", further))
    return folder / "adapted"


@pytest.mark.heavy
def test_a_file_runs_the_adapted_model_and_every_number_is_pythons(
    page: Page, adapted: Path, tmp_path: Path
) -> None:
    file = export(str(adapted), PROMPT, tmp_path / "adapted.html", target="mat")
    options = TraceOptions(prompt=OTHER, target="on")
    trace = record(open_train_state(str(adapted)), options).trace
    for address in CELLS:
        opened(page, file, "map", prompt=OTHER, target="on", at=address)
        expect(page.locator(f'[data-address="{address}"]')).to_be_visible()
        assert shown(page) == close_to(trace[address].item()), address
        if not address.startswith("weight/"):
            expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")
    opened(
        page, file, "map", prompt=OTHER, at="weight/blocks.0.attn.W_Q[head=0,d_model=1,d_head=1]"
    )
    expect(page.locator("[data-address]")).to_contain_text("frozen")


@pytest.mark.heavy
def test_every_view_of_a_served_run_of_adapters_is_without_a_fault(
    page: Page, adapted: Path
) -> None:
    with serve(str(adapted)) as url:
        views = [f"{view}?prompt=the+cat+sat" for view in VIEWS]
        assert problems_of_views(page, url, [*views, f"map?at={CELLS[0]}"]) == []
        page.goto(f"{url}#/map?prompt=the+cat+sat&block=0")
        for name in ("lora_Q.scaled", "lora_O.down", "lora_in.up"):
            expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
