"""What is too large is refused on every route, whatever the route is for, and nothing is fetched for a client."""

import base64
from collections.abc import Iterator

import httpx
import pytest

from tests.contract.conftest import MAX_REQUEST_BYTES

ROUTES = [
    *(("POST", path) for path in ("/classify", "/detect", "/nowhere", "/models")),
    *(
        ("GET", path)
        for path in (
            "/",
            "/playground/main.js",
            "/classify",
            "/docs",
            "/livez",
            "/metrics",
            "/models",
            "/models/x",
            "/openapi.json",
        )
    ),
    *(("GET", path) for path in ("/nowhere", "/readyz")),
    ("PUT", "/models"),
    ("DELETE", "/models"),
    ("OPTIONS", "/classify"),
    ("HEAD", "/readyz"),
]
ADDRESSES = [
    "http://127.0.0.1:1/x.png",
    " https://example.com/a.jpg",
    "FTP://x/y",
    "s3://bucket/key",
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_body_that_says_it_is_too_large_is_refused_on_every_route(
    client: httpx.Client, method: str, path: str
) -> None:
    answer = client.request(method, path, content=bytes(MAX_REQUEST_BYTES + 1))
    assert answer.status_code == 413
    if method != "HEAD":
        assert answer.json()["type"] == "urn:emo-serve:problem:request-too-large"


@pytest.mark.parametrize("path", ["/classify", "/detect"])
def test_a_body_that_grows_too_large_is_refused_where_it_is_read(client: httpx.Client, path: str) -> None:
    pieces = iter([bytes(65_536)] * (MAX_REQUEST_BYTES // 65_536 + 2))
    answer = client.post(path, content=pieces, headers={"content-type": "image/png"})
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/livez", "/models", "/metrics", "/nowhere"])
def test_a_body_that_nobody_reads_is_thrown_away_however_large_it_grows(client: httpx.Client, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_REQUEST_BYTES // 65_536 + 2):
            yield bytes(65_536)

    without = client.get(path).status_code
    assert client.request("GET", path, content=pieces()).status_code == without


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("path", ["/classify", "/detect"])
def test_an_image_that_would_have_to_be_fetched_is_refused(client: httpx.Client, path: str, address: str) -> None:
    answer = client.post(path, json={"image": address})
    assert answer.status_code == 422
    assert "images are not fetched" in answer.json()["detail"]
    several = client.post(path, json={"images": [address, base64.b64encode(b"x").decode()]}).json()["results"]
    assert "images are not fetched" in several[0]["error"]["detail"]
