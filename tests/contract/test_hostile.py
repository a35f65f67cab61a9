"""Hostile files among good photos: each good one is answered as when alone, each hostile one with a clear refusal."""

import io
import random
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from emo_serve.api.wire.schemas import ProblemDocument
from tests.vision.expensive import GREYS as PALETTE
from tests.vision.expensive import hidden_pictures
from tests.vision.files import (
    cat,
    encoded,
    exif,
    jpeg_segment,
    photo,
    png_chunk,
    png_header,
    rle_bmp,
    webp_header,
    with_chunks,
    with_scans,
    with_segments,
)
from tests.vision.profiles import DISPLAY_P3, rgb_profile, srgb_curve
from tests.vision.tiffs import tiff_of

JPEG = encoded(photo(), "JPEG")
PNG = encoded(photo(), "PNG")
PROGRESSIVE = encoded(photo(600, 500), "JPEG", progressive=True)

REFUSED = {
    "nothing": b"",
    "text": b"hello, this is no image",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1/x'/></svg>",
    "zeros": bytes(4096),
    "random": random.Random(1).randbytes(4096),
    "half a jpeg": JPEG[: len(JPEG) // 2],
    "half a png": PNG[: len(PNG) // 2],
    "a png of a billion pixels": png_header(40_000, 40_000),
    "a webp of a hundred million pixels": webp_header(12_000, 12_000),
    "a jpeg of ten thousand scans": with_scans(PROGRESSIVE, 10_000),
    "a png of countless chunks": with_chunks(PNG, png_chunk(b"tEXt") * 60_000),
    "a jpeg that calls itself a png": b"\x89PNG\r\n\x1a\n" + JPEG,
    "a pdf": b"%PDF-1.7\n",
    "a video": b"\0\0\0\x18ftypisom\0\0\2\0isommp42",
    "a bmp of countless run lengths": rle_bmp(1000, 1000, b"\0\2\0\0" * 300_000, PALETTE),
    "an avif of hidden pictures": hidden_pictures("AVIF"),
    "a heic of hidden pictures": hidden_pictures("HEIC"),
}
ANSWERED = {
    "a pixel": encoded(photo(1, 1), "PNG"),
    "a line": encoded(photo(5000, 1), "PNG"),
    "grey with 16 bits": encoded(Image.new("I;16", (40, 30), 30_000), "PNG"),
    "inks": encoded(photo().convert("CMYK"), "JPEG"),
    "a palette with transparency": encoded(photo().convert("P"), "GIF", transparency=0),
    "a broken exif block": with_segments(JPEG, jpeg_segment(0xE1, b"Exif\0\0" + b"\xff" * 30)),
    "a bmp of run lengths, 65535 pixels wide": rle_bmp(65_535, 762, b"\1\7\0\0" * 762, PALETTE),
    "a jpeg without its end": JPEG[:-2],
    "a png with a damaged text": with_chunks(PNG, png_chunk(b"tEXt", b"a\0b")[:-1] + b"\0"),
    "an avif": encoded(photo(), "AVIF"),
    "a heic": encoded(photo(), "HEIC"),
    "floats in planes": tiff_of(np.random.default_rng(0).random((30, 40, 3), np.float32), 2, is_planar=True),
    "a profile": encoded(photo(), "JPEG", icc_profile=rgb_profile(DISPLAY_P3, srgb_curve())),
    "an impossible orientation": with_segments(JPEG, jpeg_segment(0xE1, exif(65535))),
}


@pytest.fixture(scope="module")
def good() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(cat()).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize("route", ["/classify", "/detect", "/segment"])
def test_hostile_files_are_refused_and_never_disturb_a_good_photo(
    client: httpx.Client, route: str, good: bytes
) -> None:
    def post(body: bytes) -> tuple[httpx.Response, float]:
        started = time.monotonic()
        response = client.post(route, content=body, headers={"content-type": "application/octet-stream"})
        return response, time.monotonic() - started

    alone = post(good)[0].json()
    bodies = [body for hostile in (*REFUSED.values(), *ANSWERED.values()) for body in (hostile, good)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, bodies))
    assert max(seconds for _, seconds in answers) < 5
    assert all(response.json() == alone for response, _ in answers[1::2])
    for name, (response, _) in zip((*REFUSED, *ANSWERED), answers[0::2], strict=True):
        if name in ANSWERED:
            assert response.status_code == 200, name
        else:
            assert response.status_code in {413, 415, 422}, name
            assert ProblemDocument.model_validate_json(response.content).detail.endswith("."), name
