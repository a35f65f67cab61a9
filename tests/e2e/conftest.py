"""A real browser on a real server with toy models; `make e2e` runs these tests, `make test` does not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.serving import Running, running, settings_for
from tests.support import write_classifier, write_detector, write_segmenter

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
PATIENCE_MS = 120_000  # until a test gives up, on a machine that has other things to do too
HARMLESS = (
    "Failed to load resource: the server responded with a status of 4",  # the page shows it as a problem
    "Canvas2D: Multiple readback operations",  # of a test that looks at pixels
)
"""How that begins which the console may say."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_classifier(folder, groups=("warm", "cold", "cold"))
    write_detector(folder)
    write_segmenter(folder)
    return folder


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Running]:
    with running(settings_for(models)) as server:
        yield server


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:  # noqa: ANN401  as Playwright takes them
    """Give the page, opened; what went wrong in it or was kept from it fails the test in the end."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(HARMLESS):
            faults.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    """The page on a desktop."""
    with opened(browser, server.url) as page:
        yield page
