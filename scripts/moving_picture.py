"""Draw README's moving picture of the walk, frame by frame from the real page.

    python scripts/moving_picture.py glassformer.html docs/assets/walk.webp

The page is one that `glassformer page` wrote after `glassformer demo`. Needs Chromium.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chromium import FLAGS, find_chromium

WIDTH, HEIGHT = 860, 600  # pixels

SCENES = {
    "tokens": (0.9,),
    "table": (0.5, 0.9),
    "query": (0.4, 0.9),
    "scores": (0.3, 0.6, 0.93),
    "softmax": (0.4, 0.93),
    "mix": (0.4, 0.93),
    "addition": (0.9,),
    "neurons": (0.5, 0.93),
    "logits": (0.5, 0.93),
    "probabilities": (0.45, 0.93),
    "choice": (0.93,),
}
"""The scenes that are shown, and how far each is in its frames; its last frame stands longer."""

MOVING, STANDING, LAST = 450, 1700, 3500  # milliseconds


def main(file: Path, out: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        starts = scene_starts(page, f"{file.resolve().as_uri()}#/story?play=1")
        frames: list[Image.Image] = []
        durations: list[int] = []
        for scene, parts in SCENES.items():
            begin, end = starts[scene]
            frames += [frame(page, begin + part * (end - begin)) for part in parts]
            durations += [MOVING] * (len(parts) - 1) + [STANDING]
        browser.close()
    durations[-1] = LAST
    frames[0].save(
        out,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        quality=72,
        method=6,
    )


def scene_starts(page: Page, url: str) -> dict[str, tuple[float, float]]:
    """When each scene begins and ends, in seconds of the walk."""
    page.goto(url)
    time = page.get_by_role("slider", name="Time of the walk")
    time.wait_for()
    page.get_by_role("button", name="Pause").click()
    total = float(time.get_attribute("max") or 0)
    set_time(page, 0)
    begins: list[tuple[str, float]] = []
    while (now := float(time.input_value())) < total:
        begins.append((page.evaluate("location.hash.match(/play=([^&]*)/)[1]"), now))
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
    ends = [begin for _, begin in begins[1:]] + [total]
    return {scene: (begin, end) for (scene, begin), end in zip(begins, ends, strict=True)}


def set_time(page: Page, seconds: float) -> None:
    page.get_by_role("slider", name="Time of the walk").fill(f"{seconds:.1f}")
    page.wait_for_timeout(250)


def frame(page: Page, seconds: float) -> Image.Image:
    set_time(page, seconds)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
