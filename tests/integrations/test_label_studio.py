"""The Label Studio backend, with label-studio-ml and its web application."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emo_client import Client
from flask.testing import FlaskClient
from label_studio_ml.api import init_app
from PIL import Image

from examples.label_studio.backend import EmoBackend
from examples.label_studio.pictures import Pictures

CONFIG = """
<View>
  <Image name="image" value="$photo"/>
  <Choices name="shows" toName="image"><Choice value="Motorcycle"/></Choices>
  <RectangleLabels name="objects" toName="image"><Label value="Bike" predicted_values="motorcycle"/></RectangleLabels>
</View>
"""


class Files(http.server.SimpleHTTPRequestHandler):
    """Label Studio's files, for those with its token; one address leads elsewhere."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] != "Token secret":
            self.send_error(401)
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/motorcycle.jpg")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def host(photo: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: Files(*arguments, directory=str(photo.parent))
    ) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def backend(client: Client, host: str, photo: Path, tmp_path: Path) -> FlaskClient:
    pictures = Pictures(host, "secret", photo.parent)
    app = init_app(EmoBackend, model_dir=str(tmp_path), client=client, pictures=pictures)
    asked = app.test_client()
    assert asked.post("/setup", json={"project": "1", "schema": CONFIG}).status_code == 200
    return asked


def predictions(backend: FlaskClient, *addresses: str) -> list[dict[str, Any]]:
    tasks = [{"id": number, "data": {"photo": address}} for number, address in enumerate(addresses)]
    response = backend.post("/predict", json={"tasks": tasks, "project": "1", "label_config": CONFIG})
    assert response.status_code == 200, response.get_data(as_text=True)
    results: list[dict[str, Any]] = response.get_json()["results"]
    return results


def test_a_photo_has_a_choice_and_rectangles_in_percent(backend: FlaskClient, client: Client, photo: Path) -> None:
    (prediction,) = predictions(backend, "/motorcycle.jpg")
    found = client.detect(photo).detections[0]
    with Image.open(photo) as image:
        width, height = image.size
    (rectangle,) = [entry for entry in prediction["result"] if entry["type"] == "rectanglelabels"]
    assert (rectangle["from_name"], rectangle["to_name"]) == ("objects", "image")
    assert (rectangle["original_width"], rectangle["original_height"]) == (width, height)
    value = rectangle["value"]
    assert value["rectanglelabels"] == ["Bike"]
    box = [value["x"], value["y"], value["x"] + value["width"], value["y"] + value["height"]]
    assert box == pytest.approx([100 * end / side for end, side in zip(found.box, (width, height) * 2, strict=True)])
    assert rectangle["score"] == found.score
    (choice,) = [entry for entry in prediction["result"] if entry["type"] == "choices"]
    assert choice["value"] == {"choices": ["Motorcycle"]}
    (group,) = [group for group in client.classify(photo, top_k=1000).groups or [] if group.name == "motorcycle"]
    assert choice["score"] == group.score
    assert prediction["score"] == min(choice["score"], rectangle["score"])


def test_pictures_come_from_the_host_or_the_folder(backend: FlaskClient, host: str) -> None:
    same = predictions(
        backend, f"{host}/motorcycle.jpg", "/motorcycle.jpg", "motorcycle.jpg", "/data/local-files/?d=motorcycle.jpg"
    )
    assert same[0]["result"]
    assert same[1:] == same[:1] * 3


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:1/motorcycle.jpg",
        "//localhost:1/motorcycle.jpg",
        "http://127.0.0.1.example/motorcycle.jpg",
        "file:/etc/hostname",
        "ftp://localhost/motorcycle.jpg",
        "/data/local-files/?d=../../README.md",
        "/data/local-files/?d=/etc/hostname",
        "/data/local-files/?d=nothing.jpg",
        "/elsewhere",
        "/nothing.jpg",
        "",
    ],
)
def test_any_other_address_costs_its_own_task_the_prediction_and_no_more(
    backend: FlaskClient, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = predictions(backend, address, "/motorcycle.jpg")
    assert bad == {"result": [], "score": 0.0}
    assert good["result"]
    assert "task 0 has no prediction" in caplog.text


def test_an_address_with_a_name_before_the_host_is_not_that_of_the_host(host: str, photo: Path) -> None:
    pictures = Pictures(host, "secret")
    with pytest.raises(ValueError, match="allowed from"):
        pictures.read(host.replace("127.0.0.1", "user@127.0.0.1"))
    assert pictures.read("/motorcycle.jpg") == photo.read_bytes()
