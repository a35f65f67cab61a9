"""What users give to the client: pictures, limits and lists, and what they are told where it does not fit."""

import asyncio
import io
import sys

import numpy as np
import pytest
from emo_client import AsyncClient, Client, Detections, Unreachable
from emo_client.images import encode, to_pillow
from PIL import Image

from emo_serve.vision.image import ImageLimits, decode
from tests.support import encode_image, plain

ON_ITS_SIDE = 6
"""EXIF's orientation of a photo that has to be turned by a quarter."""


def turned() -> bytes:
    """A photo of 20 x 40 pixels that a camera stored as 40 x 20."""
    exif = Image.Exif()
    exif[0x0112] = ON_ITS_SIDE
    file = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


def found(width: int, height: int) -> Detections:
    """An answer about a picture of that size."""
    entry = {"class_id": 0, "name": "red", "score": 0.9, "box": [1, 1, 9, 9]}
    return Detections.model_validate(
        {"model": {"name": "toy", "version": "1"}, "image": {"width": width, "height": height}, "detections": [entry]}
    )


def test_a_photo_on_its_side_is_upright_however_it_is_given() -> None:
    opened = Image.open(io.BytesIO(turned()))
    assert opened.size == (40, 20)
    assert to_pillow(opened).size == to_pillow(turned()).size == (20, 40)
    assert Image.open(io.BytesIO(encode(opened))).size == (20, 40)
    assert found(20, 40).plot(opened).size == (20, 40)


def deep(mode: str) -> bytes:
    """A grey picture of 16 x 8 with samples of more than 8 bits, dark on the left, light on the right."""
    top = {"I;16": 65535, "F": 1.0}[mode]
    ramp = np.linspace(0, top, 16).astype(np.uint16 if mode == "I;16" else np.float32)
    file = io.BytesIO()
    Image.fromarray(np.tile(ramp, (8, 1))).save(file, "PNG" if mode == "I;16" else "TIFF")
    return file.getvalue()


def see_through(mode: str) -> bytes:
    """A picture of 16 x 8, whose left half is transparent black, and whose right half is opaque and dark."""
    image = Image.new("LA" if mode == "LA" else "RGBA", (16, 8))
    image.paste((40, 255) if mode == "LA" else (40, 80, 120, 255), (8, 0, 16, 8))
    if mode == "P":
        image = image.convert("RGB").quantize(2)
        image.info["transparency"] = image.getpixel((0, 0))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PICTURES = {
    "16 bits": deep("I;16"),
    "numbers of any range": deep("F"),
    "grey with alpha": see_through("LA"),
    "alpha": see_through("RGBA"),
    "a palette": see_through("P"),
    "on its side": turned(),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_drawing_shows_the_pixels_that_the_server_sees(name: str) -> None:
    seen = decode(PICTURES[name], ImageLimits()).upright()
    answer = Detections.model_validate({**found(*seen.size).model_dump(), "detections": []})
    assert np.array_equal(np.asarray(answer.plot(PICTURES[name])), np.asarray(seen))


def test_a_premultiplied_grey_picture_is_sent_and_drawn() -> None:
    picture = Image.new("La", (20, 40))
    assert Image.open(io.BytesIO(encode(picture))).mode == "LA"
    assert found(20, 40).plot(picture).getpixel((19, 39)) == (255, 255, 255)


def test_boxes_are_not_drawn_on_a_picture_of_another_size() -> None:
    with pytest.raises(ValueError, match="is about a picture of 20 x 40 pixels, and this one has 64 x 64"):
        found(20, 40).plot(plain("red", 64, 64))


def test_all_kinds_of_bytes_are_taken() -> None:
    content = encode_image(plain("red"))
    assert encode(bytearray(content)) == encode(memoryview(content)) == content


def test_an_array_of_floats_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="not an array of float64"):
        encode(np.zeros((4, 4, 3)))  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("timeout", [None, 0, -1, float("nan"), float("inf"), "3"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused_at_once(timeout: float) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="timeout is"):
            kind(timeout=timeout)


@pytest.mark.parametrize("retries", [-1, 1.5, None])
def test_a_number_of_retries_that_is_none_is_refused_at_once(retries: int) -> None:
    with pytest.raises(ValueError, match="retries is"):
        Client(retries=retries)


def test_an_empty_list_of_classes_does_not_mean_all_of_them() -> None:
    with Client() as client, pytest.raises(ValueError, match="classes is empty; leave it out for all"):
        client.detect(plain("red"), classes=[])


def test_who_is_unreachable_is_named() -> None:
    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:1", retries=0) as client:
            await client.models()

    with Client("http://127.0.0.1:1/vision", retries=0) as client:
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1/vision/models: .*refused"):
            client.models()
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1/models: "):
            asyncio.run(ask())


def test_where_a_package_is_missing_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match=r"supervision: pip install 'emo-client\[supervision\]'"):
        found(20, 40).to_supervision()
