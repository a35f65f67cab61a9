"""Photos come to the page in every way there is, and their answers are seen."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.e2e.looking import MIXED, answer_of, choose, drop, only, panel, png, rows, settled
from tests.support import encode_image, plain

FOUND = [("red", "100.0 %"), ("green", "60.0 %"), ("blue", "40.0 %")]


def file_of(image: Image.Image, image_format: str, **options: object) -> FilePayload:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return FilePayload(name=f"photo.{image_format.lower()}", mimeType="image/x", buffer=buffer.getvalue())


def test_a_chosen_photo_gets_the_objects_of_one_model_and_the_classes_of_another(page: Page) -> None:
    choose(page, png("mixed.png"))
    assert rows(panel(page, 0)) == FOUND
    assert rows(panel(page, 1))[0][0] == "red"
    expect(panel(page, 0).locator(".facts").first).to_contain_text("mixed.png · 32 × 32 px")
    expect(page.get_by_role("status")).to_contain_text("toy-detector: red, green")


def test_a_classifier_with_groups_shows_them_with_their_sums(page: Page) -> None:
    choose(page, png("mixed.png"))
    groups = panel(page, 1).locator(".groups .bar")
    assert [group.inner_text().split()[0] for group in groups.all()] == ["warm", "cold"]
    answer = answer_of(panel(page, 1))
    assert answer["groups"][0]["name"] == answer["classifications"][0]["group"] == "warm"


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_may_be_dropped_or_pasted(page: Page, way: str) -> None:
    drop(page, way, encode_image(MIXED))
    assert rows(panel(page)) == FOUND


def test_a_sample_needs_one_press(page: Page) -> None:
    page.get_by_role("button", name="A cat").click()
    settled(page)
    expect(panel(page).locator(".facts").first).to_contain_text("cat.jpg · 451 × 300 px")


def test_several_photos_are_a_grid_in_which_each_may_be_looked_at(page: Page) -> None:
    broken = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no photo at all")
    choose(page, png("mixed.png"), png("green.png", plain("green")), broken)
    cards = page.locator("#grid .card")
    expect(cards).to_have_count(3)
    expect(cards.nth(1)).to_have_attribute("aria-label", "green.png: 4 × green")
    expect(cards.nth(2)).to_contain_text("no image of an allowed format")
    assert cards.nth(0).get_attribute("aria-current") == "true"
    cards.nth(1).click()
    settled(page)
    assert rows(panel(page)) == [("green", "100.0 %")] * 4
    cards.nth(2).click()
    expect(panel(page).get_by_role("alert")).to_contain_text("415")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#welcome")).to_be_visible()


def test_a_format_that_the_browser_cannot_show_is_answered_all_the_same(page: Page) -> None:
    choose(page, file_of(Image.fromarray(MIXED), "TIFF"))
    only(page, "toy-detector")
    assert rows(panel(page)) == FOUND
    expect(panel(page).locator("canvas")).to_be_visible()
    expect(panel(page).locator(".facts").first).to_contain_text("32 × 32 px")


def test_a_photo_that_was_held_upright_is_shown_and_measured_upright(page: Page) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    lying = Image.fromarray(np.rot90(np.kron(MIXED, np.ones((15, 20, 1), np.uint8))))
    choose(page, file_of(lying, "JPEG", exif=exif, quality=100, subsampling=0))
    assert answer_of(panel(page))["image"] == {"width": 640, "height": 480}
    expect(panel(page).locator(".facts").first).to_contain_text("640 × 480 px")
    assert panel(page).locator("canvas").evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(canvas.width * 0.25, canvas.height * 0.25, 1, 1).data]"
    )[:3] == pytest.approx([254, 0, 0], abs=8)


def test_the_camera_gives_one_frame_after_the_other_until_it_is_stopped(page: Page) -> None:
    page.get_by_role("button", name="Live camera").click()
    expect(page.locator("#rate")).to_contain_text("pictures a second")
    expect(panel(page).locator(".facts").first).to_contain_text("camera.jpg · 640 × 480 px")
    first = panel(page).locator(".sums").inner_text()
    expect(panel(page).locator(".sums")).not_to_have_text(first)
    page.get_by_role("button", name="Stop camera").click()
    expect(page.locator("#rate")).to_be_empty()
    last = panel(page).locator(".sums").inner_text()
    page.wait_for_timeout(500)
    assert panel(page).locator(".sums").inner_text() == last
