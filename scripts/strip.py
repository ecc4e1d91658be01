"""Draw README's strip of the page: the first screen, a guess, the walk, attention.

    python scripts/strip.py glassformer.html docs/assets/walk.png

The page is one that `glassformer page` wrote after `glassformer demo`. Needs Chromium.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chromium import FLAGS, find_chromium

WIDTH, HEIGHT, GAP = 560, 700, 16  # of one picture, in pixels


def main(file: Path, out: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce"
        )
        views: list[tuple[str, Callable[[Page], None]]] = [
            ("#/start", to_the_top),
            ("#/story?play=softmax", to_the_end),
            ("#/story?play=probabilities", to_the_end),
        ]
        pictures = [picture(page, f"{file.resolve().as_uri()}{view}", act) for view, act in views]
        browser.close()
    strip = Image.new("RGB", ((WIDTH + GAP) * len(pictures) - GAP, HEIGHT), "white")
    for i, image in enumerate(pictures):
        strip.paste(image, (i * (WIDTH + GAP), 0))
    strip.quantize(128).save(out, optimize=True)


def to_the_top(page: Page) -> None:
    page.locator(".choice").first.click()
    page.evaluate("scrollTo(0, 0)")


def to_the_end(page: Page) -> None:
    """Of a scene of the walk: without motion it is there at once."""
    page.get_by_role("dialog", name="How the model decides").wait_for()
    page.wait_for_timeout(2500)


def picture(page: Page, url: str, act: Callable[[Page], None]) -> Image.Image:
    page.goto("about:blank")
    page.goto(url)
    page.locator("main h1, main h2").first.wait_for()
    page.wait_for_timeout(1500)
    act(page)
    page.wait_for_timeout(800)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
