"""The course's file: offline, by keyboard, on a wide screen and on a phone."""

import math
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson, names
from glassformer.course.lesson import Guess, Task
from glassformer.server.course import course_page
from glassformer.server.export import write_page
from tests.browser.test_page import problems
from tests.course.conftest import other_room as other_room
from tests.course.conftest import room as room

SIZES = [(1440, 900), (390, 844)]
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def file(room: Classroom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course's file."""
    return write_page(course_page(room), tmp_path_factory.mktemp("file") / "course.html")


@pytest.fixture(scope="module")
def file_of_another_class(other_room: Classroom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course's file on the text of another class."""
    return write_page(course_page(other_room), tmp_path_factory.mktemp("other") / "course.html")


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the focus is there."""
    for _ in range(100):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not come to {wanted}")


def answer_by_keyboard(page: Page, form: Locator, part: Guess | Task) -> None:
    """Answer a question as the model does, without a mouse."""
    if isinstance(part, Guess):
        tab_to(page, form.get_by_role("radio").first)
        page.keyboard.press("Space")
        for _ in range(part.answer):
            page.keyboard.press("ArrowDown")
    else:
        tab_to(page, form.get_by_role("textbox"))
        page.keyboard.type(f"{part.expected:.6f}")
    page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_contain_text("Right")


def answer_all(page: Page, room: Classroom, name: str) -> None:
    """Answer every question of the open lesson."""
    for stage in lesson(name, room).stages:
        section = page.get_by_role("heading", name=stage.title, exact=True).locator("..")
        questions = [part for part in stage.parts if isinstance(part, Guess | Task)]
        for index, part in enumerate(questions):
            answer_by_keyboard(page, section.locator("form").nth(index), part)


def test_the_file_is_small_opens_with_the_lessons_and_asks_nothing_of_the_network(
    page: Page, file: Path
) -> None:
    assert file.stat().st_size <= MOST_BYTES
    page.context.set_offline(True)
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text("How language models work")
    expect(page.locator("li.card")).to_have_count(len(names()))
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html[data-theme=dark]")).to_be_attached()
    page.goto(f"{file.as_uri()}#/learn/1")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("html[data-theme=light]")).to_be_attached()
    expect(page.get_by_role("navigation").filter(visible=True)).to_have_count(0)


@pytest.mark.parametrize(
    "name",
    [name if name == "2" else pytest.param(name, marks=pytest.mark.heavy) for name in names()],
)
def test_every_lesson_can_be_gone_through_by_keyboard_and_axe_finds_nothing_wrong(
    page: Page, file: Path, room: Classroom, name: str
) -> None:
    go_through(page, file, room, name)


@pytest.mark.heavy
@pytest.mark.parametrize("name", [*names()])
def test_and_so_can_those_of_another_classs_text(
    page: Page, file_of_another_class: Path, other_room: Classroom, name: str
) -> None:
    assert file_of_another_class.stat().st_size <= MOST_BYTES
    go_through(page, file_of_another_class, other_room, name)


def drawn(page: Page) -> None:
    """Wait until what follows from a new size has been drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def go_through(page: Page, file: Path, room: Classroom, name: str) -> None:
    """Answer a lesson's questions; look at it light and dark, wide and narrow."""
    page.goto(f"{file.as_uri()}#/learn/{name}")
    answer_all(page, room, name)
    expect(page.get_by_role("heading", name="To take away")).to_be_visible()
    page.emulate_media(color_scheme="light")
    assert problems(page) == []
    page.emulate_media(color_scheme="dark")
    assert problems(page) == []
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_guess_is_made_by_keyboard_and_is_still_there_after_a_reload(
    page: Page, file: Path
) -> None:
    page.goto(f"{file.as_uri()}#/learn/0")
    expect(page.get_by_text("Guess, and the lesson goes on.")).to_be_visible()
    page.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_text("What the model expects next")).to_be_visible()
    page.reload()
    expect(page.get_by_text("What the model expects next")).to_be_visible()
    page.get_by_role("button", name="Start this lesson again").click()
    expect(page.get_by_text("What the model expects next")).to_have_count(0)


def test_a_lesson_leads_down_to_a_number_which_the_page_computes_again(
    page: Page, file: Path, room: Classroom
) -> None:
    page.goto(f"{file.as_uri()}#/learn/0")
    answer_all(page, room, "0")
    page.get_by_role("link", name="Where the score of").click()
    expect(page.get_by_test_id("value")).to_be_visible()
    highest = room.watch(room.prompt)["fwd/logits"][-1].max().item()
    shown = float(page.get_by_test_id("value").inner_text().split()[-1])
    assert math.isclose(shown, highest, rel_tol=1e-3)  # the page may print four digits


def test_a_teacher_hides_the_answers_by_a_switch_that_is_kept_and_copies_the_lessons_link(
    page: Page, file: Path, room: Classroom
) -> None:
    page.goto(f"{file.as_uri()}#/learn/0")
    switch = page.get_by_role("checkbox", name="Teacher: hide the answers")
    tab_to(page, switch)
    page.keyboard.press("Space")
    expect(page.get_by_text("Answer: ____")).to_have_count(
        sum(isinstance(p, Task) for s in lesson("0", room).stages for p in s.parts)
    )
    expect(page.get_by_role("button", name="That is my guess")).to_have_count(0)
    assert problems(page) == []
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the lesson's link").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{file.as_uri()}#/learn/0"
    page.goto("about:blank")
    page.goto(f"{file.as_uri()}#/learn/1?teacher=1")
    expect(switch).to_be_checked()  # by the switch and by the address
    switch.uncheck()
    expect(page.get_by_role("button", name="That is my guess")).to_have_count(1)
    assert "teacher" not in page.url
