"""Draws the page with an answer of the models of this repository, for the documentation.

``python -m tests.e2e.screenshot docs/images/playground.webp``
"""

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import FilePayload, sync_playwright
from skimage import data

from tests.e2e.conftest import ARGUMENTS, CHROMIUM, opened
from tests.e2e.looking import choose
from tests.serving import running, settings_for

ROOT = Path(__file__).parents[2]
SIZE = {"width": 1280, "height": 880}


def main(path: Path) -> None:
    """Write the picture, a WebP."""
    os.environ["EMO_TUNE"] = "false"
    motorbike, *_ = data.stereo_motorcycle()
    photo = io.BytesIO()
    Image.fromarray(motorbike).save(photo, "JPEG", quality=90)
    file = FilePayload(name="motorcycle.jpg", mimeType="image/jpeg", buffer=photo.getvalue())
    with (
        running(settings_for(ROOT / "models")) as server,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as browser,
        opened(browser, server.url, viewport=SIZE) as page,
    ):
        for _ in range(3):  # the first answers are those of a server that has just started
            choose(page, file)
            page.wait_for_timeout(500)
            page.mouse.move(0, 0)
            picture = page.screenshot()
            page.get_by_role("button", name="Clear").click()
    Image.open(io.BytesIO(picture)).convert("RGB").save(path, "WEBP", quality=82, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
