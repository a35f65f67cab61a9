"""Everybody can use the page: by keys, by ear, in the dark, on a phone; and it keeps its promises of size."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.e2e.conftest import opened
from tests.e2e.looking import answer_of, choose, frame, panel, png, settled
from tests.serving import Running
from tests.support import plain

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WORST = {"serious", "critical"}


def assert_accessible(page: Page) -> None:
    violations = Axe().run(page).response["violations"]
    bad = [
        (entry["id"], entry["help"], [node["html"][:120] for node in entry["nodes"]])
        for entry in violations
        if entry["impact"] in WORST
    ]
    assert bad == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious_anywhere(
    browser: Browser, server: Running, screen: dict[str, Any], scheme: str
) -> None:
    with opened(browser, server.url, color_scheme=scheme, **screen) as page:
        assert_accessible(page)
        broken = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no photo at all")
        choose(page, png("mixed.png"), png("green.png", plain("green")), broken)
        page.locator("#settings").evaluate("(details) => { details.open = true; }")
        answer_of(panel(page))
        field = page.get_by_label("Only these classes").first
        field.fill("red")
        field.press("Enter")
        frame(page)
        assert_accessible(page)
        page.locator("#grid .card").nth(2).click()
        settled(page)
        assert_accessible(page)
        page.locator("#key-button").evaluate("(button) => { button.hidden = false; button.click(); }")
        assert_accessible(page)


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_screen(browser: Browser, server: Running, screen: dict[str, Any]) -> None:
    with opened(browser, server.url, **screen) as page:
        for _ in range(2):
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
            choose(page, png("a_name_of_a_photo_that_is_much_longer_than_the_screen_of_a_phone_is_wide.png"))


def test_all_can_be_done_by_keys(page: Page) -> None:
    def reach(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(selector)

    reach("[data-sample='cat.jpg']")
    page.keyboard.press("Enter")
    settled(page)
    page.evaluate("() => document.activeElement.blur()")
    reach("#controls input[type=range]")
    before = page.locator("#controls .slider span + span").first.inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#controls .slider span + span").first.inner_text() != before
    reach("canvas")
    page.keyboard.press("+")
    assert page.evaluate("() => document.activeElement.classList.contains('zoomed')")
    reach("[role=tab]")
    page.keyboard.press("ArrowRight")
    expect(panel(page).get_by_role("tab", name="Python")).to_have_attribute("aria-selected", "true")
    expect(panel(page).get_by_role("tab", name="Python")).to_be_focused()
    reach(".json summary")
    page.keyboard.press("Enter")
    expect(panel(page).get_by_label("The answer as JSON", exact=True)).to_be_visible()


def test_the_theme_is_that_of_the_system_until_another_is_chosen_and_then_stays(
    browser: Browser, server: Running
) -> None:
    def ground(page: Page) -> str:
        colour: str = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return colour

    with opened(browser, server.url, color_scheme="dark") as page:
        dark = ground(page)
        page.get_by_role("button", name="Switch between light and dark").click()
        light = ground(page)
        assert light != dark
        page.reload()
        assert ground(page) == light
    with opened(browser, server.url, color_scheme="light") as page:
        assert ground(page) == light


def test_the_whole_page_is_smaller_than_150_kilobytes(browser: Browser, server: Running) -> None:
    context = browser.new_context()
    page = context.new_page()
    sizes: dict[str, int] = {}
    page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    page.goto(server.url, wait_until="networkidle")
    context.close()
    assert {url.removeprefix(server.url).split("/")[1] for url in sizes} == {"", "playground", "models"}
    assert sum(sizes.values()) < 150_000
