"""How a block is put together: shared heads, branches side by side, and who was routed where."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from glassformer.interop.folder import save
from tests.page.models import PROMPT, experts
from tests.pages import export

BLOCK = 1  # the one with experts


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state, folder = experts(), tmp_path_factory.mktemp("experts")
    save(state.model, state.tokenizer, folder / "model")
    return export(str(folder / "model"), PROMPT, folder / "page.html")


def test_a_blocks_picture_says_who_shares_what_and_a_token_shows_its_experts(
    page: Page, file: Path
) -> None:
    page.goto(f"{file.as_uri()}#/map?block={BLOCK}&pos=2")
    wiring = page.get_by_label("How this block is put together")
    expect(wiring).to_contain_text("Both branches read the same stream, through one norm")
    expect(wiring).to_contain_text("4 heads of queries (q) share 2 heads of keys and values")
    groups = wiring.get_by_label("Which heads share keys and values").get_by_role("listitem")
    assert [text.split() for text in groups.all_inner_texts()] == [
        ["q0", "q1", "k0"],
        ["q2", "q3", "k1"],
    ]
    trace = experts().model.watch(experts().tokenizer.encode_prompt(PROMPT))
    weights = trace["blocks.1.mlp.expert_weights"]
    used = {expert for expert, weight in enumerate(weights[2].tolist()) if weight > 0}
    tiles = wiring.get_by_role("listitem", name="expert")
    expect(wiring.get_by_role("listitem", name="used")).to_have_count(len(used))
    labels = [tile.get_attribute("aria-label") for tile in tiles.all()]
    assert labels == [f"expert {i}{', used' * (i in used)}" for i in range(weights.shape[1])]
    best = int(weights[2].argmax())
    page.get_by_role("link", name=f"2 sat, expert {best}:").click()
    expect(page.get_by_test_id("value")).to_be_visible()
    assert f"{float(weights[2, best]):.3f}" in page.get_by_test_id("value").inner_text()
