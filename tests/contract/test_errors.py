"""Every answer can be traced, and every error is a problem document."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from emo_serve.api.wire.schemas import ProblemDocument
from tests.contract.conftest import MAX_REQUEST_BYTES
from tests.serving import Running
from tests.support import encode_image, plain

PNG = {"content-type": "image/png"}
GOOD = encode_image(plain("red"))

ERRORS: dict[str, tuple[int, str, str, dict[str, object]]] = {
    "no route": (404, "GET", "/nothing", {}),
    "wrong method": (405, "GET", "/classify", {}),
    "wrong method on get": (405, "DELETE", "/models", {}),
    "no body": (415, "POST", "/classify", {}),
    "curl without a header": (
        415,
        "POST",
        "/classify",
        {"content": GOOD, "headers": {"content-type": "application/x-www-form-urlencoded"}},
    ),
    "empty": (422, "POST", "/classify", {"content": b"", "headers": PNG}),
    "no image": (415, "POST", "/detect", {"content": b"hello", "headers": PNG}),
    "bad parameter": (422, "POST", "/detect?iou_threshold=2", {"content": GOOD, "headers": PNG}),
    "unknown parameter": (422, "POST", "/detect?iou=0.5", {"content": GOOD, "headers": PNG}),
    "unknown model": (404, "POST", "/detect?model=x", {"content": GOOD, "headers": PNG}),
    "unknown model description": (404, "GET", "/models/x", {}),
    "not acceptable": (406, "POST", "/detect", {"content": GOOD, "headers": {**PNG, "accept": "text/csv"}}),
    "bad json": (422, "POST", "/classify", {"content": b"{", "headers": {"content-type": "application/json"}}),
    "bad multipart": (
        422,
        "POST",
        "/classify",
        {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}},
    ),
    "too long": (413, "POST", "/classify", {"content": b"x" * (MAX_REQUEST_BYTES + 1), "headers": PNG}),
}


def assert_protected(response: httpx.Response) -> None:
    """It stays in no cache, is taken for nothing else, and a browser that shows it loads nothing."""
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert response.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")


@pytest.mark.parametrize(("status", "method", "path", "rest"), ERRORS.values(), ids=ERRORS)
def test_every_error_is_a_problem_document_with_the_headers_of_every_answer(
    client: httpx.Client, status: int, method: str, path: str, rest: dict[str, object]
) -> None:
    response = client.request(method, path, **rest)  # type: ignore[arg-type]
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = ProblemDocument.model_validate_json(response.content)
    assert document.status == status
    assert document.request_id == response.headers["X-Request-Id"]
    assert document.detail
    assert "total;dur=" in response.headers["Server-Timing"]
    assert_protected(response)


def test_a_wrong_method_names_the_right_one(client: httpx.Client) -> None:
    response = client.get("/classify")
    assert response.headers["Allow"] == "POST"
    assert response.json()["allowed"] == ["POST"]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/models", "/docs", "/openapi.json"])
def test_every_answer_has_its_request_id_and_timing(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"X-Request-Id": "mine-1"})
    assert response.status_code in {200, 307}
    assert response.headers["X-Request-Id"] == "mine-1"
    assert_protected(response)
    assert "total;dur=" in response.headers["Server-Timing"]


def test_a_good_answer_says_where_its_time_went(client: httpx.Client) -> None:
    timing = client.post("/classify", content=GOOD, headers=PNG).headers["Server-Timing"]
    parts = dict(part.split(";dur=") for part in timing.split(", "))
    assert list(parts) == ["decode", "preprocess", "queue", "infer", "postprocess", "total"]
    assert all(float(value) >= 0 for value in parts.values())


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(20):
            sent += 1
            yield b"x" * 50_000

    response = client.post("/classify", content=endless(), headers=PNG)
    assert response.status_code == 413
    assert response.json()["type"] == "urn:emo-serve:problem:request-too-large"
    assert str(MAX_REQUEST_BYTES) in response.json()["detail"]


def test_the_refusal_of_a_chunked_body_does_not_wait_for_its_end(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n")
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        size = MAX_REQUEST_BYTES + 1
        connection.sendall(f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")  # and no last chunk
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(server: Running, client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99\r\n\r\nx"
        )
    assert client.post("/classify", content=GOOD, headers=PNG).status_code == 200
