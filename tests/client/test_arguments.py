"""What users give to the client: pictures, limits and lists, and what they are told where it does not fit."""

import asyncio
import io
import sys

import numpy as np
import pytest
from emo_client import AsyncClient, Client, Detections, Unreachable
from emo_client.images import encode, to_pillow
from PIL import Image

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
