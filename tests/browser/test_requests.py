"""What programs on this machine ask the API for, on the page that was asked to show it."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from glassformer.generation.batch import Batch
from tests.browser.serving import serve
from tests.browser.test_page import problems
from tests.server.clients import make_model


def test_a_request_is_seen_while_it_is_written_and_its_prompt_opens_at_its_first_choice(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_model(tmp_path / "small")
    turn, go_on = Batch.turn, threading.Event()

    def pausing(batch: Batch) -> None:
        if batch.texts and len(batch.texts[0].new) == 3:
            go_on.wait(60)
        turn(batch)

    monkeypatch.setattr(Batch, "turn", pausing)
    asked = {"prompt": "the cat sat on the mat the cat sat", "max_tokens": 6, "glass": True}
    tracing, is_open = list[Route](), threading.Event()

    def hold(route: Route) -> None:
        route.continue_() if is_open.is_set() else tracing.append(route)

    page.route("**/api/traces", hold)  # nothing is opened so far
    with serve(str(tmp_path / "small")) as url, ThreadPoolExecutor() as client:
        page.goto(f"{url}#/requests")
        expect(page.get_by_text("No program has asked yet")).to_be_visible()
        is_open.set()
        for one in tracing:
            one.continue_()
        answer = client.submit(httpx.post, f"{url}v1/completions", json=asked, timeout=60)
        card = page.get_by_role("listitem").filter(has_text="tokens read")
        expect(card).to_contain_text("3 tokens written")
        expect(card).to_contain_text("is being written")
        assert problems(page) == []
        go_on.set()
        expect(card).to_contain_text("6 tokens written")
        expect(card).to_contain_text("done")
        choice = answer.result().json()["choices"][0]
        expect(card.locator("b")).to_have_text(choice["text"])
        page.set_viewport_size({"width": 390, "height": 844})
        card.get_by_role("link", name="the cat sat").click()
        expect(page).to_have_url(re.compile(r"#/story.*prompt=the"))
        expect(page.get_by_role("button", name="sat")).to_have_count(2)
        expect(page.get_by_test_id("value")).to_have_text(str(choice["glass"][0]["token"]))
        expect(page.locator(".rail .next")).to_be_in_viewport(ratio=1)
