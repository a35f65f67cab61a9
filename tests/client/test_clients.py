"""Both clients against a real server."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emo_client import AsyncClient, Classification, Client, Detections, Problem
from PIL import Image

from tests.serving import Running, running, settings_for
from tests.support import encode_image, plain, quadrants, write_models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    with running(settings_for(models)) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_a_picture_may_be_a_path_bytes_a_pillow_image_or_an_array(client: Client, tmp_path: Path) -> None:
    pixels = plain("blue")
    path = tmp_path / "blue.png"
    path.write_bytes(encode_image(pixels))
    for picture in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels):
        best = client.classify(picture).best
        assert best is not None
        assert best.name == "blue"


def test_an_address_is_fetched_by_the_client(client: Client, server: Running) -> None:
    with pytest.raises(Problem, match="JSON"):  # it got the server's answer at that address and sent it as a picture
        client.classify(f"{server.url}/livez")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16"])
def test_a_pillow_image_may_have_any_mode_of_whole_numbers(client: Client, mode: str) -> None:
    assert client.classify(Image.new(mode, (8, 6))).image.model_dump() == {"width": 8, "height": 6}


@pytest.mark.parametrize(
    "picture",
    [
        *(np.zeros((4, 4), np.float32), np.zeros((2, 4, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8)),
        *(7, Image.new("F", (4, 4)), Image.new("RGB", (0, 4)), Image.new("I", (4, 4), 1 << 16)),
    ],
)
def test_what_is_no_picture_is_refused_before_it_is_sent(client: Client, picture: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"(a picture (is|has)|an array of pixels is)"):
        client.classify(picture)  # type: ignore[arg-type]  # on purpose


def test_the_key_of_the_server_goes_to_the_server_only(server: Running) -> None:
    seen: list[dict[str, str]] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers))
            self.send_response(302 if self.path == "/photo" else 200)
            self.send_header("Location", "/moved")
            self.end_headers()
            self.wfile.write(encode_image(plain("blue")))

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    async def ask(address: str) -> None:
        async with AsyncClient(server.url, api_key="secret") as client:
            assert (await client.classify(address)).classifications[0].name == "blue"

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{elsewhere.server_port}/photo"
        with Client(server.url, api_key="secret") as client:
            assert client.classify(address).classifications[0].name == "blue"
        asyncio.run(ask(address))
        elsewhere.shutdown()
    assert len(seen) == 4
    assert not any("Authorization" in headers for headers in seen)


def test_parameters_reach_the_server(client: Client) -> None:
    found = client.detect(quadrants("red", "green", "blue", "white"), classes=["red", "blue"], max_detections=1)
    assert len(found.detections) == 1
    assert found.detections[0].name in {"red", "blue"}
    assert len(client.classify(plain("red"), top_k=2).classifications) == 2
    with pytest.raises(Problem, match="top_k") as refused:
        client.classify(plain("red"), top_k=0)
    assert refused.value.status == 422


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_a_segmenter_gives_masks(client: Client) -> None:
    found = client.segment(plain("green"))
    assert found.classes[0].name == "green"
    assert found.classes[0].mask().shape == (found.image.height, found.image.width)
    assert found.classes[0].mask().sum() == found.classes[0].pixels


def test_models_are_listed(client: Client) -> None:
    assert {(model.name, model.task) for model in client.models()} >= {("toy-classifier", "classify")}


def test_many_pictures_are_answered_in_order_and_a_bad_one_does_not_stop_the_others(client: Client) -> None:
    pictures = [encode_image(plain(colour)) for colour in ("red", "green", "blue") * 10]
    pictures[7] = b"no picture"
    answers = list(client.map(client.classify, pictures, concurrency=4, return_exceptions=True))
    assert isinstance(answers[7], Problem)
    names = [None if isinstance(answer, Exception) else answer.classifications[0].name for answer in answers]
    assert names[:4] == ["red", "green", "blue", "red"]
    assert len(names) == 30
    with pytest.raises(Problem):
        list(client.map(client.classify, pictures, concurrency=4))


@pytest.mark.parametrize("bad", ["a\0b", np.zeros((4, 4, 3)), 7, "http://a..b/", Path("nowhere.jpg")], ids=repr)
def test_whatever_is_given_in_place_of_a_picture_costs_no_other_its_answer(server: Running, bad: object) -> None:
    async def ask() -> list[Classification | Exception]:
        async with AsyncClient(server.url) as other:
            return [answer async for answer in other.map(other.classify, pictures, return_exceptions=True)]

    good = encode_image(plain("red"))
    pictures: list[Any] = [good, bad, good]
    with Client(server.url) as client:
        answers = list(client.map(client.classify, pictures, return_exceptions=True))
    for first, middle, last in (answers, asyncio.run(ask())):
        assert isinstance(first, Classification)
        assert isinstance(middle, Exception)
        assert isinstance(last, Classification)


def test_many_pictures_are_not_read_ahead_without_bound(client: Client) -> None:
    taken = 0

    def pictures() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield encode_image(plain("red"))

    answers = client.map(client.classify, pictures(), concurrency=2)
    next(answers)
    assert taken <= 4


def test_no_request_at_a_time_is_refused(client: Client, server: Running) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(client.map(client.classify, [b""], concurrency=0))

    async def ask() -> None:
        async with AsyncClient(server.url) as other:
            async for _ in other.map(other.classify, [b""], concurrency=0):
                pass

    with pytest.raises(ValueError, match="allowed are 1 and more"):
        asyncio.run(ask())


def test_the_asynchronous_client_answers_the_same(server: Running) -> None:
    async def ask() -> None:
        pictures = [encode_image(plain(colour)) for colour in ("red", "green", "blue")]
        async with AsyncClient(server.url) as client:
            found = [answer.classifications[0].name async for answer in client.map(client.classify, pictures)]
            assert found == ["red", "green", "blue"]
            assert (await client.detect(quadrants("red", "white", "white", "white"))).detections
            assert (await client.segment(plain("green"))).classes[0].name == "green"
            assert await client.models()
            mixed = [pictures[0], b"no picture"]
            answers = [answer async for answer in client.map(client.classify, mixed, return_exceptions=True)]
            assert isinstance(answers[1], Problem)

    asyncio.run(ask())


@pytest.fixture
def found(client: Client) -> Detections:
    return client.detect(quadrants("red", "white", "white", "blue"))


def test_coco_results_have_corner_and_size(found: Detections) -> None:
    entry = found.to_coco(5)[0]
    left, top, right, bottom = found.detections[0].box
    assert entry["image_id"] == 5
    assert entry["bbox"] == [left, top, round(right - left, 2), round(bottom - top, 2)]


def test_a_plot_has_the_size_of_the_picture_and_other_pixels(found: Detections) -> None:
    pixels = quadrants("red", "white", "white", "blue")
    page = found.plot(pixels)
    assert page.size == (pixels.shape[1], pixels.shape[0])
    assert (np.asarray(page) != pixels).any()
