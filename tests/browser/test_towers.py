"""Files of a translation run and of a masked one: each runs its model by itself, in every view."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect

from glassformer.formula.spelling import number
from glassformer.interop import save
from glassformer.lab.logit_attribution import attribute
from glassformer.model import Config, Encoder, EncoderDecoder, TowersConfig
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import open_train_state
from glassformer.training.translation import filled_batch
from tests.browser.test_engine import close_to, opened, shown
from tests.browser.test_page import VIEWS, problems_of_views
from tests.pages import export

PAIRS = {
    "the black cat sleeps": "le chat noir dort",
    "my friend reads": "mon ami lit",
    "the dog sleeps": "le chien dort",
}
SOURCE, OTHER, _ = PAIRS
BLANK, OTHER_BLANK = "the [MASK] sat on the mat", "a [MASK] ran"
UPDATES = 80
CROSS = "fwd/decoder.blocks.0.cross_attn.pattern[batch=0,head=1,query=2,source_key=1]"
NUMBERS = ["fwd/loss", "bwd/encoder.blocks.0.attn.W_Q[head=1,d_model=2,d_head=3]", "opt/grad_norm"]


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of two small towers that have learned three sentences."""
    tokenizer = Tokenizer.of_sentences([*PAIRS, *PAIRS.values()])
    tower = Config(tokenizer.vocab_size, n_ctx=12, d_model=16, n_layers=1, n_heads=2)
    tower = tower.replace(position="sinusoidal")
    ids: dict[str, Any] = {"pad_id": tokenizer.pad_id, "start_id": tokenizer.bos_id}
    config = TowersConfig(encoder=tower.replace(causal=False), decoder=tower, **ids)
    model = EncoderDecoder(config, torch.Generator().manual_seed(0))
    sources, targets = (
        [tokenizer.encode_source(text) for text in texts] for texts in (PAIRS, PAIRS.values())
    )
    batch = filled_batch(sources, targets, config.pad_id, config.start_id)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(UPDATES):
        optimizer.zero_grad()
        model.loss(batch.ids, batch.targets, source=batch.extra["source"]).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("towers") / "translating"
    save(model.eval(), tokenizer, folder)
    return str(folder)


@pytest.fixture(scope="module")
def filling(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small encoder."""
    tokenizer = Tokenizer.of_masked_words(["the cat sat on the mat", "a dog ran"])
    config = Config(tokenizer.vocab_size, n_ctx=12, d_model=12, n_layers=2, n_heads=2)
    config = config.replace(causal=False, masked_head=True, head_bias=True, token_types=2)
    config = config.replace(norm_position="post", final_norm=False, embed_norm=True)
    model = Encoder(config.replace(init_std=0.4), torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("masked") / "filling"
    save(model.eval(), tokenizer, folder)
    return str(folder)


@pytest.fixture(scope="module")
def files(translating: str, filling: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The page of each with a word asked for, so that it has gradients."""
    folder = tmp_path_factory.mktemp("files")
    return [
        export(translating, SOURCE, folder / "translating.html"),
        export(filling, BLANK, folder / "filling.html", target="cat"),
    ]


def test_a_new_source_is_translated_by_the_page_as_python_translates_it(
    page: Page, files: list[Path], translating: str
) -> None:
    page.goto(files[0].as_uri())
    page.get_by_label("Your sentence").fill(OTHER)
    page.get_by_role("button", name="Translate it").click()
    trace = record(open_train_state(translating), TraceOptions(prompt=OTHER)).trace
    words = [str(word) for word in trace.labels["pos"]][1:]
    assert words == PAIRS[OTHER].split()
    written = page.get_by_role("group", name="The translation").get_by_role("button")
    expect(written).to_have_text(words)
    written.nth(1).click()
    pattern = trace["decoder.blocks.0.cross_attn.pattern"][:, 1]  # [head, source_key]
    head, word = divmod(int(pattern.argmax()), pattern.shape[1])
    said = f"head {head} of the last block looked at “{trace.labels['source_pos'][word]}”"
    expect(page.get_by_test_id("across")).to_contain_text(said)
    page.get_by_role("link", name="Read how it translates").click()
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text(f"How “{OTHER}” becomes “{PAIRS[OTHER]}”")
    for address in NUMBERS:
        opened(page, files[0], "map", prompt=OTHER, at=address)
        expect(page.locator(f'[data-address="{address}"]')).to_be_visible()
        assert shown(page) == close_to(trace[address].item())


def test_cross_attention_is_a_picture_under_the_source_words_and_its_cells_explain_themselves(
    page: Page, files: list[Path], translating: str
) -> None:
    opened(page, files[0], "attention", head="1")
    grid = page.get_by_role("grid")
    for column, word in enumerate(SOURCE.split()):
        expect(grid.get_by_role("gridcell")).to_contain_text(
            f"query 0 <s>, source_key {column} {word}"
        )
        grid.press("ArrowRight")
    page.get_by_role("button", name="Source to source").click()
    expect(grid.get_by_role("gridcell")).to_contain_text("source_query 0 the")
    trace = record(open_train_state(translating), TraceOptions(prompt=SOURCE)).trace
    opened(page, files[0], "map", at=CROSS)
    assert shown(page) == close_to(trace[CROSS].item())
    expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")


def test_a_translation_is_written_word_by_word_and_a_head_switched_off_is_seen_in_each(
    page: Page, files: list[Path], translating: str
) -> None:
    opened(page, files[0], "playground", sampling={"temperature": 0})
    page.get_by_role("button", name="From the first word").click()
    rail = page.get_by_role("group", name="Source and translation").get_by_role("button")
    for word in [*PAIRS[SOURCE].split(), "</s>"]:
        expect(page.get_by_test_id("token")).to_have_text(word)
        expect(rail.filter(has_text="next")).to_contain_text(word)
        if word != "</s>":
            page.get_by_role("button", name=f"Add “{word}” and go on").click()
    expect(page.get_by_text("ends the text")).to_be_visible()
    head = "fwd/decoder.blocks.0.cross_attn.z[head=1]"
    state = open_train_state(translating)
    off = record(state, TraceOptions(prompt=SOURCE), {head: 0.0}).trace
    opened(page, files[0], "lab")
    page.get_by_role("switch", name="Head 1 of cross-attention in decoder block 0").click()
    expect(page.get_by_text("Head 1 of cross-attention in decoder block 0 is off")).to_be_visible()
    losses = page.get_by_test_id("losses")
    expect(losses).to_contain_text("and becomes")
    result = re.search(r"becomes\s+([\d.]+)", losses.inner_text())
    assert result
    assert float(result[1]) == pytest.approx(off["loss"].item(), rel=0.01)  # it has a few digits


def test_a_blank_is_filled_with_the_probabilities_that_python_gives(
    page: Page, files: list[Path], filling: str
) -> None:
    opened(page, files[1], "story", prompt=OTHER_BLANK)
    state = open_train_state(filling)
    pos = 2  # behind [CLS] and a
    for prompt, target in ((OTHER_BLANK, None), (BLANK, "cat")):
        trace = record(state, TraceOptions(prompt=prompt, target=target)).trace
        probs = trace["probs"][pos]
        best = state.tokenizer.token(int(probs.argmax()))
        asked = {"prompt": prompt} if target is None else {"prompt": prompt, "target": target}
        opened(page, files[1], "story", **asked)
        title = page.get_by_role("heading", level=1)
        expect(title).to_have_text(f"How the blank of “{prompt}” is filled with “{best}”")
        address = f"fwd/probs[batch=0,pos={pos},vocab={int(probs.argmax())}]"
        opened(page, files[1], "map", **asked, at=address)
        assert shown(page) == close_to(probs.max().item())
    opened(page, files[1], "map", prompt=BLANK, target="cat", at="fwd/loss")
    assert shown(page) == close_to(trace["loss"].item())
    opened(page, files[1], "playground", prompt=OTHER_BLANK)
    page.get_by_role("button", name=re.compile("Put “.*” in the blank")).click()
    expect(page.get_by_role("group", name="The prompt's tokens")).not_to_contain_text("[MASK]")


def test_why_a_word_was_written_is_the_sum_that_python_says_with_the_heads_that_look_at_the_source(
    page: Page, files: list[Path], translating: str
) -> None:
    state = open_train_state(translating)
    trace = record(state, TraceOptions(prompt=SOURCE)).trace
    shares = attribute(state.model.config, trace, pos=1).shares
    opened(page, files[0], "story", stage="why", pos="1")
    rows = page.get_by_role("list", name="What each part wrote").get_by_role("listitem")
    *parts, total = [float(text) for text in rows.locator("> .digits").all_inner_texts()]
    # two engines' float32 passes; four digits are shown
    assert parts == pytest.approx([share.logits for share in shares], rel=1e-3, abs=1e-4)
    assert total == pytest.approx(trace["logits"][1].max().item(), rel=1e-3)
    expect(page.get_by_role("link", name="Head 1 of cross-attention in block 0")).to_be_visible()
    page.get_by_role("link", name="Head 1 of cross-attention in block 0").click()
    expect(page.get_by_role("button", name="Translation to source")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.goto(f"{files[0].as_uri()}#/story?stage=why&pos=1")
    page.get_by_role("button", name="Swap one word").click()
    region = page.get_by_role("region", name="Map of what came back")
    cells = region.get_by_role("link")
    expect(page.get_by_role("button", name="Again", exact=True)).to_be_visible()
    expect(cells).to_have_count(len(SOURCE.split()) + 1)  # one block, and the end token
    at = region.locator("th.swapped").evaluate("one => one.cellIndex") - 1
    back = int(cells.nth(at).inner_text().removesuffix("%"))
    cells.nth(at).click()
    expect(page.get_by_text("values compared differ")).to_be_visible()
    *other, _ = page.locator(".rail .source .text").all_inner_texts()
    written = state.tokenizer.encode(PAIRS[SOURCE])
    swapped = TraceOptions(prompt=" ".join(other), written=written)
    address = f"fwd/encoder.blocks.0.resid_post[source_pos={at}]"
    passes = [trace, record(state, swapped).trace]
    passes.append(record(state, swapped, {address: trace[address]}).trace)
    clean, corrupt, patched = (one["logits"][1] for one in passes)
    token = int(clean.argmax())
    rival = next(int(one) for one in corrupt.argsort(descending=True) if int(one) != token)
    lead = [float(row[token] - row[rival]) for row in (clean, corrupt, patched)]
    wanted = 100 * (lead[2] - lead[1]) / (lead[0] - lead[1])
    assert back == pytest.approx(wanted, abs=0.6)  # whole per cent


def test_a_blank_s_logit_is_the_sum_of_the_last_layer_s_neurons(
    page: Page, files: list[Path], filling: str
) -> None:
    state = open_train_state(filling)
    trace = record(state, TraceOptions(prompt=BLANK, target="cat")).trace
    best = trace["logits"][2].max().item()
    opened(page, files[1], "story", stage="why")
    expect(page.get_by_test_id("why")).to_contain_text(f"is {number(best)}")
    expect(page.get_by_text("neuron", exact=False).first).to_be_visible()
    page.get_by_role("button", name="Swap one word").click()
    expect(page.get_by_role("button", name="Again", exact=True)).to_be_visible()
    region = page.get_by_role("region", name="Map of what came back")
    expect(region.get_by_role("link")).to_have_count(2 * 8)  # blocks, tokens
    page.goto(f"{files[1].as_uri()}#/tokens")
    chips = page.get_by_role("list", name="The tokens, with their ids and bytes")
    expect(chips.get_by_role("listitem").nth(1)).to_contain_text("[MASK]")
    expect(chips.get_by_role("listitem")).to_have_count(6)


def test_the_decoder_s_stream_is_read_early_on_the_map_and_the_encoder_s_is_not(
    page: Page, files: list[Path], translating: str
) -> None:
    trace = record(open_train_state(translating), TraceOptions(prompt=SOURCE)).trace
    point = "decoder.blocks.0.resid_post"
    token = int(trace[f"lens.{point}.best_token"][1])
    word = str(trace.labels["vocab"][token])
    opened(page, files[0], "map", pos="1")
    guess = page.get_by_role("link", name=f"Its guess at {point}: {word}")
    expect(guess).to_be_visible()
    expect(page.get_by_text("The encoder says no words")).to_be_visible()
    guess.click()
    expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")


def test_the_walk_goes_from_the_source_over_the_bridge_to_the_next_word(
    page: Page, files: list[Path], translating: str
) -> None:
    state = open_train_state(translating)
    trace = record(state, TraceOptions(prompt=SOURCE)).trace
    every = attribute(state.model.config, trace, pos=1).shares
    shares = [share for share in every if "cross-head" in share.part]
    head = max(shares, key=lambda share: share.logits).part.split()[-1]
    looked = trace["decoder.blocks.0.cross_attn.pattern"][int(head), 1]
    word = trace.labels["source_pos"][int(looked.argmax())]
    page.goto(files[0].as_uri())
    page.get_by_role("link", name="Watch how it writes").click()
    said = scenes(page)
    assert [*said][:5] == ["A text", "Tokens", "Embedding", "Position", "Encoder, block 0"]
    assert f"`{word}`".strip("`") in said["Encoder, block 0"]
    assert f"Cross-attention, head {head} of block 0 of the decoder" in said["Query and keys"]
    assert f"{100 * float(looked.max()):.1f}" in said["Softmax"]
    assert "the decoder begins again" in said["The next token"]
    page.get_by_role("button", name="Go on with the next token").click()
    expect(page).to_have_url(re.compile("pos=2"))


@pytest.mark.heavy
def test_the_walk_of_a_blank_ends_in_the_blank(page: Page, files: list[Path]) -> None:
    page.goto(f"{files[1].as_uri()}#/story?play=1")
    said = scenes(page)
    assert "a token is hidden" in said["A text"]
    assert "looks hardest at one other token" in said["Query and keys"]
    assert "12 neurons look at [MASK]" in said["One more layer"]
    assert "It fills the blank." in said["The blank"]


def scenes(page: Page) -> dict[str, str]:
    """What each scene of the walk says, by its title."""
    dialog, said = page.get_by_role("dialog"), dict[str, str]()
    expect(dialog.locator(".where b")).to_be_visible()
    page.keyboard.press("Space")
    for _ in range(30):
        said[dialog.locator(".where b").inner_text()] = dialog.locator(".caption").inner_text()
        if dialog.get_by_role("button", name="Next scene").is_disabled():
            break
        page.keyboard.press("ArrowRight")
    return said


def test_both_learn_in_the_page(page: Page, files: list[Path]) -> None:
    for file in files:
        opened(page, file, "training")
        page.get_by_role("button", name="One step").click()
        expect(page.get_by_test_id("trained")).to_have_attribute("data-step", "1")
        expect(page.get_by_test_id("expects")).to_be_visible()


@pytest.mark.heavy
@pytest.mark.parametrize("which", [0, 1])
def test_axe_finds_nothing_wrong_and_a_phone_cuts_nothing_off(
    page: Page, files: list[Path], which: int
) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    assert problems_of_views(page, files[which].as_uri(), VIEWS) == []
