"""One image gives one answer, however it is sent."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage import data

from emo_serve.api.wire.schemas import ClassifyAnswers, DetectAnswers, SegmentAnswers
from tests.support import encode_image, plain, quadrants
from tests.vision.files import STORED_AS

PNG = {"content-type": "image/png"}
IMAGE = encode_image(quadrants("red", "green", "blue", "white", side=80))
TEXT = base64.b64encode(IMAGE).decode()
BODIES: dict[str, dict[str, Any]] = {
    "raw": {"content": IMAGE, "headers": PNG},
    "octet-stream": {"content": IMAGE, "headers": {"content-type": "application/octet-stream"}},
    "wrong image type": {"content": IMAGE, "headers": {"content-type": "image/jpeg"}},
    "chunked": {"content": iter([IMAGE[:100], IMAGE[100:]]), "headers": PNG},
    "multipart": {"files": {"file": ("photo.png", IMAGE, "image/png")}},
    "json": {"json": {"image": TEXT}},
    "data uri": {"json": {"image": f"data:image/png;base64,{TEXT}"}},
}


@pytest.mark.parametrize("path", ["/classify", "/detect", "/segment"])
def test_every_kind_of_body_gives_the_same_answer(client: httpx.Client, path: str) -> None:
    BODIES["chunked"]["content"] = iter([IMAGE[:100], IMAGE[100:]])
    answers = {kind: client.post(path, **body) for kind, body in BODIES.items()}
    assert {kind: answer.status_code for kind, answer in answers.items()} == dict.fromkeys(BODIES, 200)
    assert all(answer.json() == answers["raw"].json() for answer in answers.values())


@pytest.mark.parametrize("path", ["/classify", "/detect", "/segment"])
def test_several_images_are_answered_in_order_each_as_when_alone(client: httpx.Client, path: str) -> None:
    images = [encode_image(plain(colour)) for colour in ("red", "green", "blue")]
    alone = [client.post(path, content=image, headers=PNG).json() for image in images]
    files = [("file", ("x.png", image, "image/png")) for image in images]
    texts = [base64.b64encode(image).decode() for image in images]
    assert client.post(path, files=files).json() == {"results": alone}
    assert client.post(path, json={"images": texts}).json() == {"results": alone}
    assert client.post(path, json={"images": texts[:1]}).json() == {"results": alone[:1]}


@pytest.mark.parametrize("path", ["/classify", "/detect", "/segment"])
def test_one_bad_image_never_fails_its_neighbours(client: httpx.Client, path: str) -> None:
    good = client.post(path, content=IMAGE, headers=PNG).json()
    bad = {"no image": b"hello", "empty": b"", "truncated": IMAGE[: len(IMAGE) // 2]}
    texts = [TEXT, *(base64.b64encode(entry).decode() for entry in bad.values()), "no base64!", TEXT]
    response = client.post(path, json={"images": texts})
    assert response.status_code == 200
    results = response.json()["results"]
    assert (results[0], results[-1]) == (good, good)
    assert [entry["error"]["status"] for entry in results[1:-1]] == [415, 422, 422, 422]
    assert all(entry["error"]["request_id"] == response.headers["X-Request-Id"] for entry in results[1:-1])
    {"/classify": ClassifyAnswers, "/detect": DetectAnswers, "/segment": SegmentAnswers}[path].model_validate(
        response.json()
    )


def oriented(orientation: int) -> bytes:
    """A JPEG that looks the same whatever its EXIF orientation says, because its pixels are turned the other way."""
    upright = PillowImage.fromarray(quadrants("red", "green", "blue", "black", side=64)).resize((96, 64))
    turn = STORED_AS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_the_frame_a_person_sees_on_every_route(client: httpx.Client, orientation: int) -> None:
    image = oriented(orientation)
    answer = client.post("/detect", content=image, headers=PNG, params={"score_threshold": 0.8}).json()
    assert answer["image"] == {"width": 96, "height": 64}
    boxes = {found["name"]: found["box"] for found in answer["detections"]}
    assert boxes == {"red": [0, 0, 48, 32], "green": [48, 0, 96, 32], "blue": [0, 32, 48, 64]}
    assert client.post("/detect", files={"file": image}, params={"score_threshold": 0.8}).json() == answer
    text = base64.b64encode(image).decode()
    assert client.post("/detect", json={"image": text}, params={"score_threshold": 0.8}).json() == answer
    assert client.post("/classify", content=image, headers=PNG).json()["image"] == answer["image"]
    picture = client.post("/detect", content=image, headers={**PNG, "accept": "image/png"})
    assert PillowImage.open(io.BytesIO(picture.content)).size == (96, 64)


@pytest.mark.parametrize("name", ["chelsea", "astronaut", "coffee", "rocket"])
def test_real_photos_are_answered(client: httpx.Client, name: str) -> None:
    photo = np.ascontiguousarray(getattr(data, name)())
    body = encode_image(photo, "JPEG")
    for path in ("/classify", "/detect", "/segment"):
        answer = client.post(path, content=body, headers={"content-type": "image/jpeg"})
        assert answer.json()["image"] == {"width": photo.shape[1], "height": photo.shape[0]}
