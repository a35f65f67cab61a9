"""Steps and readings that the tests of the page share."""

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import FilePayload, Locator, Page

from tests.support import SIDE, encode_image

MIXED = np.zeros((SIDE, SIDE, 3), np.uint8)
"""Quadrants, in reading order, that the toy detector takes for red 1.0, green 0.6, blue 0.4 and red 0.2."""
MIXED[:16, :16] = (255, 0, 0)
MIXED[:16, 16:] = (51, 204, 0)
MIXED[16:, :16] = (76, 77, 255)
MIXED[16:, 16:] = (153, 102, 0)


def png(name: str, pixels: NDArray[np.uint8] = MIXED) -> FilePayload:
    """A file to choose."""
    return FilePayload(name=name, mimeType="image/png", buffer=encode_image(pixels))


def choose(page: Page, *files: FilePayload) -> None:
    """Choose files; return when each panel has an answer or a problem about the first of them."""
    page.set_input_files("#choose", list(files))
    settled(page)


def settled(page: Page) -> None:
    """Return when every panel shows an answer or a problem."""
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('.panel')]; return all.length && all.every("
        "(panel) => panel.querySelector('.problem, .sums') && panel.getAttribute('aria-busy') !== 'true'); }"
    )
    frame(page)


def frame(page: Page) -> None:
    """Return when the page has drawn what has changed."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def panel(page: Page, position: int = 0) -> Locator:
    return page.locator(".panel").nth(position)


def rows(panel: Locator) -> list[tuple[str, str]]:
    """Name and number of each bar but those of groups."""
    found = panel.locator(".bars:not(.groups) .bar").evaluate_all(
        "(bars) => bars.map((bar) => ['.name', '.value'].map((part) => bar.querySelector(part).firstChild.textContent))"
    )
    return [(name, value) for name, value in found]


def pick(page: Page, name: str, position: int = 0) -> None:
    panel(page, position).locator("select").select_option(label=name)
    settled(page)


def only(page: Page, name: str) -> None:
    """Show one model alone."""
    if page.locator(".panel").count() > 1:
        page.get_by_role("button", name="Remove").click()
    pick(page, name)


def slide(page: Page, group: str, name: str, value: float) -> None:
    slider = page.get_by_role("group", name=group).get_by_label(name, exact=False)
    slider.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)
    frame(page)


def answer_of(panel: Locator) -> dict[str, Any]:
    """The JSON that a panel holds folded."""
    details = panel.locator("details.json")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    frame(panel.page)
    answer: dict[str, Any] = json.loads(panel.get_by_label("The answer as JSON", exact=True).inner_text())
    return answer


def drop(page: Page, event: str, data: bytes) -> None:
    """Drop or paste a file of this content on the page."""
    page.evaluate(
        """([event, text]) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "given.png", { type: "image/png" }));
            const made = event === "paste"
                ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
                : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            document.body.dispatchEvent(made);
        }""",
        [event, base64.b64encode(data).decode()],
    )
    settled(page)
