"""The page in a real Chromium: size, first paint, hover, cell card, slider, GPT-2, Qwen3 0.6B and
Llama 1B opened, and a file that runs a model of the demo's size by itself.

No peer runs beside it: the bounds are those of a page that feels immediate.
"""

from __future__ import annotations

import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import torch
from playwright.sync_api import CDPSession, Page, sync_playwright

from bench.measure import Row
from glassformer.interop import load, save
from glassformer.model import Config, Decoder
from glassformer.server.export import page_data, write_page
from glassformer.server.notebook import trace_html
from glassformer.server.page import holding, later, template
from glassformer.server.runs import Runs
from glassformer.server.schemas import PageData
from glassformer.text.tokenizer import Tokenizer
from tests.browser.serving import serve
from tests.chromium import FLAGS, find_chromium
from tests.real_sizes import write

STORY = {"run": "miniature", "prompt": "the cat sat on a", "target": "mat"}
WORDS = "the cat sat on a mat and the dog ran to the red door"
LENGTH = 64
CELLS, TOTALS = 40, 10
MOVES = 20

OPEN_CELLS = """async ([hash, addresses]) => {
    const times = [];
    for (const address of addresses) {
        const begun = performance.now();
        location.hash = `${hash}&at=${encodeURIComponent(address)}`;
        while (!document.querySelector(`[data-address="${address}"]`)) {
            if (performance.now() - begun > 20000) throw new Error(`no card for ${address}`);
            await new Promise((resolve) => setTimeout(resolve, 1));
        }
        times.push(performance.now() - begun);
    }
    return times;
}"""


FRAME = 1.2 * 1000 / 60
"""Milliseconds from one frame to the next at 60 a second, and a fifth more."""


FRAMES = """(seconds) => new Promise((done) => {
  const times = [];
  requestAnimationFrame(function next(now) {
    times.push(now);
    if (now - times[0] < 1000 * seconds) requestAnimationFrame(next);
    else done(times.slice(1).map((time, i) => time - times[i]));
  });
})"""


OPEN_PROMPTS = """async (prompts) => {
    const times = [];
    for (const prompt of prompts) {
        const begun = performance.now();
        location.hash = `#/story?prompt=${encodeURIComponent(prompt)}`;
        while (!document.querySelector("h1")?.textContent.includes(`“${prompt}”`))
            await new Promise((resolve) => setTimeout(resolve, 1));
        times.push(performance.now() - begun);
    }
    return times;
}"""


WATCH_ENGINE = """
    window.engineTimes = [];
    window.Worker = class extends Worker {
        asked = new Map();
        constructor(...args) {
            super(...args);
            this.addEventListener("message", ({ data }) => {
                const asked = this.asked.get(data.n);
                if (asked) engineTimes.push({ kind: asked.kind, ms: performance.now() - asked.at });
            });
        }
        postMessage(message, ...rest) {
            const { n, what, part, request: asked } = message;
            if (what === "trace" || (what === "later" && part === 0)) {
                const edited = Object.keys(asked.edits ?? {}).length;
                const kind = edited ? "edit" : asked.added?.length ? "token" : "prompt";
                this.asked.set(n, { kind: `${kind} ${what}`, at: performance.now() });
            }
            super.postMessage(message, ...rest);
        }
    };
"""


OPEN_MATRICES = """async ([hash, addresses]) => {
    const times = [];
    for (const address of addresses) {
        const begun = performance.now();
        location.hash = `${hash}&at=${encodeURIComponent(address)}`;
        const says = (where) => document.querySelector(where)?.textContent ?? "";
        const open = () => says("[aria-current=page].digits") === address
            && says("figcaption").includes("largest magnitude");
        while (!open()) {
            if (performance.now() - begun > 20000) throw new Error(`no overview of ${address}`);
            await new Promise((resolve) => setTimeout(resolve, 1));
        }
        times.push(performance.now() - begun);
    }
    return times;
}"""


def run(seconds: float) -> Iterator[Row]:
    del seconds  # everything is measured once or a fixed number of times
    yield from sizes()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no Chromium was found: install one (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        with serve("miniature") as url:
            yield from small_model(browser.new_page(), url)
        yield from file_alone(browser.new_page())
        yield from gpt2(browser.new_page())
        yield from real_sizes(browser.new_page())
        browser.close()


def sizes() -> Iterator[Row]:
    shell = len(gzip.compress(holding(template()).encode(), 9))
    yield Row(
        "what Start and Story need, with engine and font, gzipped",
        shell / 1000,
        "KB",
        target=("<=", 166),
    )
    others = sum(len(gzip.compress(code.encode(), 9)) for code in later(template()).values())
    yield Row("what the other views load, gzipped", others / 1000, "KB", target=("<=", 82))
    block = len(gzip.compress(miniature_page().model_dump_json(by_alias=True).encode(), 9))
    yield Row("the built-in example, gzipped", block / 1000, "KB", target=("<=", 80))
    shown = trace_html(load(STORY["run"])[0].watch(STORY["prompt"]))
    yield Row("its trace in a notebook", len(shown.encode()) / 1000, "KB", target=("<=", 300))


def miniature_page() -> PageData:
    return page_data(Runs([STORY["run"]]), STORY["prompt"], target=STORY["target"])


def small_model(page: Page, url: str) -> Iterator[Row]:
    paints, ready = [], []
    for _ in range(5):
        page.goto("about:blank")
        page.goto(f"{url}#/story?{urlencode(STORY)}")
        page.wait_for_selector(".rail .token", state="attached")
        ready.append(page.evaluate("performance.now()"))
        paints.append(page.evaluate(FIRST_PAINT))
    yield row("first contentful paint", paints, 1000)
    yield row("interactive: tokens and story are there", ready, 1500)
    yield row("scripting for one hover", hovers(page, url, STORY), 16)
    addresses = [f"fwd/blocks.0.mlp.pre[batch=0,pos={i % 5},d_mlp={i % 16}]" for i in range(CELLS)]
    yield row("a cell card opens", cards(page, STORY, addresses), 100)
    yield row("scripting for one move of a slider", slides(page, url, STORY), 50)


def file_alone(page: Page) -> Iterator[Row]:
    """A file that holds a model of the demo's size and runs it: texts of 12 to 16 tokens."""
    words = (WORDS.split() * 2)[:16]
    prompts = [" ".join(words[:n]) for n in (16, 12, 13, 14, 15, 16, 13, 15)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, file = Path(temporary) / "alone", Path(temporary) / "page.html"
        torch.manual_seed(0)
        model = Decoder(Config.preset("storyland")).eval()
        save(model, made_up_words(model.config.vocab_size), folder)
        write_page(page_data(Runs([str(folder)]), prompts[-1]), file)
        megabytes = file.stat().st_size / 1e6
        yield Row("a file of the demo's size", megabytes, "MB", target=("<=", 1.5))
        page.add_init_script(WATCH_ENGINE)
        page.goto(f"{file.as_uri()}#/story")
        page.wait_for_selector(".rail .token", state="attached")
        yield row("it opens", [page.evaluate("performance.now()")], 2000)
        yield from walk(page, f"{file.as_uri()}#/story?{urlencode({'prompt': prompts[0]})}")
        times = page.evaluate(OPEN_PROMPTS, prompts)
        yield row("another prompt, with gradients, to the drawn page", times[2:], 300)
        edits = [json.dumps({f"fwd/blocks.0.attn.z[head={h}]": 0}) for h in range(4)]
        gradient = {"at": "bwd/blocks.0.attn.z[batch=0,pos=0,head=0,d_head=0]"}
        for fields in [{"edits": edit} for edit in edits] + [{}]:  # the gradients of each are read
            asked = urlencode({"prompt": prompts[0], **fields, **gradient})
            page.goto(f"{file.as_uri()}#/map?{asked}")
            page.wait_for_timeout(1500)
        page.goto(f"{file.as_uri()}#/playground?{urlencode({'prompt': prompts[1]})}")
        for _ in range(4):
            page.get_by_role("button", name="and go on").click()
            page.wait_for_timeout(1500)
        engine = page.evaluate("window.engineTimes")

        def median(kind: str) -> float:
            times = [each["ms"] for each in engine if each["kind"] == kind]
            return statistics.median(times[1:] or times)

        prompt, edit = median("prompt trace"), median("edit trace")
        for what, milliseconds, bound in (
            ("in the engine: a prompt's forward pass", prompt, 100),
            ("in the engine: with gradients", prompt + median("prompt later"), 300),
            ("in the engine: an edit", edit, 100),
            ("in the engine: an edit, with gradients", edit + median("edit later"), 100),
            ("in the engine: a generated token", median("token trace"), 50),
        ):
            yield Row(what, milliseconds, "ms", target=("<=", bound))
        small = write_page(miniature_page(), Path(temporary) / "small.html")
        page.goto(f"{small.as_uri()}#/training")
        page.get_by_role("button", name="Train", exact=True).click()
        page.wait_for_timeout(5000)
        speed = float(page.get_by_test_id("trained").get_attribute("data-speed") or 0)
        yield Row("the miniature trains in the page", speed, "steps/s", target=(">=", 30))


def walk(page: Page, url: str) -> Iterator[Row]:
    """Every scene of the walk through 16 tokens: its frames, and what a frame takes of the page."""
    page.goto(f"{url}&play=1")
    dialog = page.get_by_role("dialog")
    scenes = dialog.locator(".where").inner_text().partition("1 of ")[2]
    session = measured(page, "threadTicks")  # of the processor, however busy the machine is
    costs = []
    for _ in range(int(scenes)):
        title = dialog.locator(".where b").inner_text()
        before = scripting(session, "TaskDuration")
        frames = page.evaluate(FRAMES, 2)
        costs.append((scripting(session, "TaskDuration") - before) / len(frames))
        yield row(f"the walk, {title}: from frame to frame", frames, FRAME)
        page.keyboard.press("ArrowRight")
    yield Row("the costliest scene: main thread for a frame", max(costs), "ms", target=("<=", 8))
    page.keyboard.press("Escape")


def gpt2(page: Page) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "gpt2"
        torch.manual_seed(0)
        model = Decoder(Config.preset("gpt2")).eval()
        save(model, made_up_words(model.config.vocab_size), folder)
        del model
        yield from large_model(page, "GPT-2", folder)


def real_sizes(page: Page) -> Iterator[Row]:
    """The page of models as people use them, whose folders hold bfloat16."""
    for name in ("qwen3 0.6B", "llama 1B"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "real"
            write(name, folder)
            yield from large_model(page, name, folder)


def large_model(page: Page, name: str, folder: Path) -> Iterator[Row]:
    forward, prompt, config = forward_seconds(folder)
    asked = {"run": folder.name, "prompt": prompt}
    with serve(str(folder)) as url:
        urlopen(f"{url}api/runs/{folder.name}", timeout=120).close()  # the model is in memory
        begun = time.perf_counter()
        page.goto(f"{url}#/map?{urlencode(asked)}")
        page.locator(".rail button.token").nth(LENGTH - 1).wait_for(
            state="attached", timeout=120_000
        )
        opened = time.perf_counter() - begun
        yield Row(f"{name}, {LENGTH} tokens: its forward pass", 1000 * forward, "ms")
        beyond = 1000 * (opened - forward)
        yield Row(f"{name}, {LENGTH} tokens: opens, beyond that", beyond, "ms", target=("<=", 3000))
        layers = config.n_layers
        addresses = [
            f"fwd/blocks.{i % layers}.mlp.pre[batch=0,pos={i},d_mlp={i * 7}]" for i in range(CELLS)
        ]
        yield from timed_cards(page, f"{name}: a cell card", asked, addresses)
        totals = [f"fwd/logits_sum[batch=0,pos={i}]" for i in range(5, 5 + TOTALS)]
        sums = f"{name}: the card of a sum over {config.vocab_size:,}"
        yield from timed_cards(page, sums, asked, totals)
        where = f"#/map?{urlencode(asked)}"
        weights = [f"weight/blocks.{i}.mlp.W_in" for i in range(12)]
        overviews = page.evaluate(OPEN_MATRICES, [where, weights])
        size = f"{config.d_model:,} x {config.d_mlp:,}"
        yield row(f"{name}: the overview of {size} is there", overviews, 100)
        yield row(f"{name}: scripting for a window's move", windows(page), 50)
        yield row(f"{name}: scripting for one hover", hovers(page, url, asked), 16)
        yield row(f"{name}: scripting for a slider's move", slides(page, url, asked), 50)


def made_up_words(count: int) -> Tokenizer:
    """A tokenizer of so many words, those of WORDS among them."""
    real = list(dict.fromkeys(WORDS.split()))
    return Tokenizer.from_words([*real, *(f"w{i}" for i in range(count - len(real)))])


FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def row(what: str, times: list[float], bound: float) -> Row:
    return Row(what, statistics.median(times), "ms", target=("<=", bound), rounds=len(times))


def cards(page: Page, fields: dict[str, str], addresses: list[str]) -> list[float]:
    """Milliseconds until each address's card is there."""
    return page.evaluate(OPEN_CELLS, [f"#/map?{urlencode(fields)}", addresses])


def timed_cards(
    page: Page, what: str, fields: dict[str, str], addresses: list[str]
) -> Iterator[Row]:
    """By the clock, and processor time for each, which other programs leave nearly alone."""
    session = measured(page, "threadTicks")
    before, began = scripting(session, "TaskDuration"), time.process_time()
    yield row(what, cards(page, fields, addresses), 100)
    served = 1000 * (time.process_time() - began) / len(addresses)
    shown = (scripting(session, "TaskDuration") - before) / len(addresses)
    yield Row(f"  processor: page {shown:.0f} ms, server {served:.0f}", shown + served, "ms")


def measured(page: Page, clock: str = "timeTicks") -> CDPSession:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": clock})
    return session


def scripting(session: CDPSession, *what: str) -> float:
    """Milliseconds that the page has spent in scripts and layout, or in `what`."""
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return 1000 * sum(metrics[name] for name in what or ("ScriptDuration", "LayoutDuration"))


def hovers(page: Page, url: str, fields: dict[str, str]) -> list[float]:
    """Milliseconds of scripting for a move over a matrix: five means of MOVES."""
    page.goto(f"{url}#/map?{urlencode({**fields, 'at': 'fwd/blocks.0.mlp.pre'})}")
    grid = page.get_by_role("grid")
    grid.wait_for()
    page.wait_for_timeout(500)
    box = grid.bounding_box()
    assert box
    session = measured(page)
    times = []
    for _ in range(5):
        before = scripting(session)
        for i in range(MOVES):
            page.mouse.move(box["x"] + 90 + 17 * i, box["y"] + 30 + 9 * (i % 12))
        page.wait_for_timeout(50)
        times.append((scripting(session) - before) / MOVES)
    return times


def windows(page: Page) -> list[float]:
    """Milliseconds of scripting for each of MOVES steps of the window over the open matrix."""
    overview = page.get_by_role("application")
    session = measured(page)
    times = []
    for _ in range(MOVES):
        before = scripting(session)
        overview.press("ArrowRight")
        page.wait_for_timeout(60)
        times.append(scripting(session) - before)
    return times


def slides(page: Page, url: str, fields: dict[str, str]) -> list[float]:
    """Milliseconds of scripting for each of MOVES steps of the temperature."""
    page.goto(f"{url}#/playground?{urlencode(fields)}")
    slider = page.get_by_label("Temperature", exact=True)
    slider.wait_for()
    session = measured(page)
    times = []
    for _ in range(MOVES):
        before = scripting(session)
        slider.press("ArrowRight")
        page.wait_for_timeout(60)
        times.append(scripting(session) - before)
    return times


def forward_seconds(folder: Path) -> tuple[float, str, Config]:
    """How long a plain pass over LENGTH tokens takes, in float32 as the server's; their text."""
    model, tokenizer = load(folder, dtype=torch.float32)
    assert tokenizer is not None, "it was saved beside the model"
    ids = tokenizer.encode(" ".join(WORDS.split() * LENGTH))[:LENGTH]
    times = []
    with torch.no_grad():
        for _ in range(5):
            begun = time.perf_counter()
            model(torch.tensor([ids]))
            times.append(time.perf_counter() - begun)
    return statistics.median(times), tokenizer.decode(ids), model.config
