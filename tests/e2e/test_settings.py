"""Sliders and filters act in the page at once, and come to what the server would have answered."""

from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, Request, expect

from emo_serve.vision.boxes import non_maximum_suppression
from emo_serve.vision.draw import colour_of
from tests.e2e.looking import MIXED, answer_of, choose, frame, only, panel, pick, png, rows, slide
from tests.serving import Running
from tests.support import encode_image


def ask(server: Running, path: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  any parameter
    answer = httpx.post(
        f"{server.url}/{path}", params=parameters, content=encode_image(MIXED), headers={"content-type": "image/png"}
    )
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def asked(page: Page) -> list[str]:
    """The requests that the page makes from now on."""
    urls: list[str] = []

    def heard(request: Request) -> None:
        if request.method == "POST":
            urls.append(request.url)

    choose(page, png("mixed.png"))
    page.on("request", heard)
    return urls


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.41, 0.99])
def test_a_score_gives_what_the_server_gives_without_asking_it(
    page: Page, server: Running, asked: list[str], threshold: float
) -> None:
    slide(page, "Objects", "Least score", threshold)
    assert answer_of(panel(page)) == ask(server, "detect", score_threshold=threshold)
    slide(page, "Classes", "Least score", threshold)
    slide(page, "Classes", "At most", 2)
    assert answer_of(panel(page, 1)) == ask(server, "classify", score_threshold=threshold, top_k=2)
    assert asked == []


def test_no_more_objects_are_shown_than_wanted(page: Page, server: Running, asked: list[str]) -> None:
    slide(page, "Objects", "Least score", 0.1)
    slide(page, "Objects", "At most", 2)
    assert rows(panel(page)) == [("red", "100.0 %"), ("green", "60.0 %")]
    assert answer_of(panel(page)) == ask(server, "detect", score_threshold=0.1, max_detections=2)
    page.get_by_role("group", name="Objects").get_by_role("button", name="Reset").click()
    frame(page)
    assert answer_of(panel(page)) == ask(server, "detect")
    assert asked == []


def test_only_the_classes_that_were_named_are_shown(page: Page, server: Running, asked: list[str]) -> None:
    slide(page, "Objects", "Least score", 0.1)
    field = page.get_by_role("group", name="Objects").get_by_label("Only these classes")
    for name in ("Green", "blue", "violet"):  # there is no violet
        field.fill(name)
        field.press("Enter")
    frame(page)
    assert rows(panel(page)) == [("green", "60.0 %"), ("blue", "40.0 %")]
    assert answer_of(panel(page)) == ask(server, "detect", score_threshold=0.1, classes="green,blue")
    page.get_by_role("button", name="Remove green").click()
    frame(page)
    assert rows(panel(page)) == [("blue", "40.0 %")]
    assert asked == []


@pytest.mark.parametrize("is_agnostic", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 0.9, 1.0])
def test_the_page_suppresses_as_the_server_does(page: Page, threshold: float, is_agnostic: bool) -> None:
    random = np.random.default_rng(7)
    corners = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate((corners, corners + random.uniform(1, 50, (200, 2))), axis=1).astype(np.float32)
    labels = random.integers(0, 3, 200)
    kept = page.evaluate(
        """async ([detections, settings]) => {
            const { suppress } = await import("./playground/suppress.js");
            return suppress(detections, settings).map((detection) => detection.index);
        }""",
        [
            [
                {"index": index, "class_id": int(labels[index]), "box": boxes[index].astype(float).tolist()}
                for index in range(200)
            ],
            {"iouThreshold": threshold, "count": 120, "classAgnostic": is_agnostic},
        ],
    )
    rivals = np.zeros_like(labels) if is_agnostic else labels
    assert kept == non_maximum_suppression(boxes, rivals, threshold, 120).tolist()


def test_two_models_stand_side_by_side_and_each_may_be_another(page: Page, server: Running) -> None:
    choose(page, png("mixed.png"))
    first, second = panel(page, 0).bounding_box(), panel(page, 1).bounding_box()
    assert first is not None
    assert second is not None
    assert (first["y"], first["x"] + first["width"] < second["x"]) == (second["y"], True)
    pick(page, "toy-segmenter", 1)
    assert answer_of(panel(page, 1)) == ask(server, "segment")
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".panel")).to_have_count(1)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".panel")).to_have_count(2)


def test_pointing_at_the_picture_reads_out_what_lies_there(page: Page) -> None:
    choose(page, png("mixed.png"))
    for model, text in (
        ("toy-detector", "green 60.0 % · 16 × 16 px · x 24, y 8"),
        ("toy-segmenter", "green 24.9 % of the picture"),
    ):
        only(page, model)
        canvas = panel(page).locator("canvas")
        box = canvas.bounding_box()
        assert box is not None
        canvas.hover(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})
        expect(panel(page).locator(".readout")).to_contain_text(text)
        expect(panel(page).locator(".strong")).to_contain_text("green")


def test_areas_are_laid_over_the_picture_in_the_colours_of_their_classes(page: Page) -> None:
    choose(page, png("mixed.png"))
    only(page, "toy-segmenter")
    page.mouse.move(0, 0)
    frame(page)
    pixels = (
        panel(page)
        .locator("canvas")
        .evaluate(
            """(canvas) => [0.25, 0.75].map((across) => {
            const place = [canvas.width * across, canvas.height * 0.25];
            return [...canvas.getContext("2d").getImageData(...place, 1, 1).data].slice(0, 3);
        })"""
        )
    )
    for label, (pixel, ground) in enumerate(zip(pixels, ([255, 0, 0], [51, 204, 0]), strict=True)):
        assert pixel == pytest.approx([(a + b) / 2 for a, b in zip(colour_of(label), ground, strict=True)], abs=3)


def test_the_picture_is_zoomed_by_keys_buttons_and_the_wheel(page: Page) -> None:
    choose(page, png("mixed.png"))
    only(page, "toy-detector")
    canvas = panel(page).locator("canvas")

    def middle() -> list[int]:
        pixel: list[int] = canvas.evaluate(
            "(canvas) => [...canvas.getContext('2d').getImageData(canvas.width / 2, 40, 1, 1).data]"
        )
        return pixel[:3]

    canvas.focus()
    for key in "+++":
        page.keyboard.press(key)
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    assert middle() == [255, 0, 0]  # nothing but the first quadrant is left in view
    page.keyboard.press("0")
    assert not canvas.evaluate("(canvas) => canvas.classList.contains('zoomed')")
    panel(page).get_by_role("button", name="Zoom in").click()
    assert canvas.evaluate("(canvas) => canvas.classList.contains('zoomed')")
    panel(page).get_by_role("button", name="Whole picture").click()
    canvas.hover()
    page.mouse.wheel(0, 200)  # scrolls the page, for nobody has turned to the picture
    assert not canvas.evaluate("(canvas) => canvas.classList.contains('zoomed')")
    canvas.focus()
    page.mouse.wheel(0, -300)
    expect(canvas).to_have_class("zoomed")
