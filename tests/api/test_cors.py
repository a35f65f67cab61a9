"""Pages of other origins: every answer says whether they may read it, and they are told so before they send."""

import asyncio
import contextlib
import hashlib
import http.client
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from emo_serve.engine.registry.catalog import Catalog
from emo_serve.main import create_admin_app
from emo_serve.settings import Settings
from tests.serving import in_process, running, settings_for
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio

PAGE = "https://photos.example"
RED = encode_image(plain("red"))
PNG = {"content-type": "image/png"}
EXPOSED = {"x-request-id", "server-timing", "retry-after"}

ANSWERS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "an answer": (200, "POST", "/classify", {"content": RED, "headers": PNG}),
    "a picture": (200, "POST", "/detect", {"content": RED, "headers": {**PNG, "accept": "image/png"}}),
    "the models": (200, "GET", "/models", {}),
    "a redirect": (307, "GET", "/", {}),
    "no path": (404, "GET", "/nothing", {}),
    "no model": (404, "POST", "/classify?model=x", {"content": RED, "headers": PNG}),
    "another method": (405, "GET", "/classify", {}),
    "too large by its length": (413, "POST", "/classify", {"content": bytes(300_000), "headers": PNG}),
    "too large for a route without a body": (413, "GET", "/livez", {"content": bytes(300_000)}),
    "no image": (415, "POST", "/classify", {"content": b"hello", "headers": PNG}),
    "a wrong parameter": (422, "POST", "/classify?top_k=0", {"content": RED, "headers": PNG}),
    "a wrong timeout": (400, "POST", "/classify", {"content": RED, "headers": {**PNG, "x-request-timeout-ms": "x"}}),
}


def allowing(folder: Path, origins: str, **changes: Any) -> Settings:  # noqa: ANN401  each setting has its own type
    (folder / "models").mkdir()
    return settings_for(folder / "models", cors_origins=origins, max_request_bytes=200_000, **changes)


@pytest.mark.parametrize(("origins", "allowed"), [("*", "*"), (f"http://localhost:3000, {PAGE}", PAGE)])
async def test_every_answer_may_be_read_by_an_allowed_page(tmp_path: Path, origins: str, allowed: str) -> None:
    async with in_process(allowing(tmp_path, origins, playground=False)) as (client, services):
        for name, (status, method, path, rest) in ANSWERS.items():
            headers = {**rest.get("headers", {}), "origin": PAGE}
            answer = await client.request(method, path, **{**rest, "headers": headers})
            assert answer.status_code == status, name
            assert answer.headers["access-control-allow-origin"] == allowed, name
            assert "access-control-allow-credentials" not in answer.headers
            assert set(answer.headers["access-control-expose-headers"].lower().split(", ")) >= EXPOSED, name
            assert "Origin" in answer.headers["vary"], name
        services.drain.set()
        leaving = await client.get("/readyz", headers={"origin": PAGE})
        assert (leaving.status_code, leaving.headers["access-control-allow-origin"]) == (503, allowed)


def test_a_defect_is_a_problem_that_may_be_read_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(allowing(tmp_path, PAGE)) as server:
        monkeypatch.setattr(Catalog, "not_ready_reasons", lambda _: 1 / 0)
        monkeypatch.setattr(Catalog, "get", lambda *_: 1 / 0)
        for method, path in (("GET", "/readyz"), ("POST", "/classify")):  # inside and outside of the framework's layers
            answer = httpx.request(method, f"{server.url}{path}", headers={"origin": PAGE})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, PAGE)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(("origins", "allowed"), [("*", "*"), (f"http://localhost:3000, {PAGE}", PAGE)])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_refused_before_it_is_understood_may_be_read(
    tmp_path: Path, origins: str, allowed: str, *, is_first: bool
) -> None:
    heads = {
        414: (f"/{'a' * 9000}", "X-A: b"),
        431: ("/livez", f"X-A: {'a' * 9000}"),
        400: ("/livez", "Bad Header"),
        501: ("/livez", "Transfer-Encoding: gzip, chunked"),
    }
    with running(allowing(tmp_path, origins)) as server:
        for status, (target, line) in heads.items():
            headers = (f"Origin: {PAGE}", line) if is_first else (line, f"Origin: {PAGE}")
            head = "\r\n".join((f"GET {target} HTTP/1.1", "Host: x", *headers, "", ""))
            with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=10) as connection:
                connection.sendall(head.encode())
                with contextlib.closing(http.client.HTTPResponse(connection)) as answer:
                    answer.begin()
                    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, allowed)


async def test_a_full_queue_may_be_read_with_the_time_to_come_back(tmp_path: Path) -> None:
    settings = allowing(tmp_path, PAGE, batching={"max_queue_size": 1})
    async with in_process(settings) as (client, _):
        asked = [client.post("/classify", content=RED, headers=PNG | {"origin": PAGE}) for _ in range(40)]
        refused = [answer for answer in await asyncio.gather(*asked) if answer.status_code == 503]
    assert refused
    assert all(answer.headers["access-control-allow-origin"] == PAGE for answer in refused)
    assert all(int(answer.headers["retry-after"]) for answer in refused)


@pytest.mark.parametrize(
    ("path", "method"),
    [("/classify", "POST"), ("/detect/", "POST"), ("/models", "GET"), ("/metrics", "GET"), ("/nothing", "POST")],
)
async def test_a_browser_that_asks_before_it_sends_is_answered_without_a_key(
    tmp_path: Path, path: str, method: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice:{hashlib.sha256(b'key').hexdigest()}\n")
    asked = {
        "origin": PAGE,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,x-request-timeout-ms,x-api-key",
    }
    async with in_process(allowing(tmp_path, PAGE, api_keys_file=keys)) as (client, _):
        answer = await client.options(path, headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert method in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == asked["access-control-request-headers"]
        assert answer.headers["x-request-id"]
        unknown = await client.post(path, content=RED, headers={**PNG, "origin": PAGE})
        assert (unknown.status_code, unknown.headers["access-control-allow-origin"]) == (401, PAGE)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"origin": "https://evil.example", "access-control-request-method": "POST"}, "origin"),
        ({"origin": PAGE, "access-control-request-method": "DELETE"}, "method"),
    ],
)
async def test_what_is_not_allowed_is_refused_by_a_problem_that_says_what_is(
    tmp_path: Path, asked: dict[str, str], reason: str
) -> None:
    async with in_process(allowing(tmp_path, PAGE)) as (client, _):
        answer = await client.options("/classify", headers=asked)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert reason in answer.json()["detail"]
    assert PAGE in answer.json()["detail"]


METHODS = {
    "/classify": "POST",
    "/segment/": "POST",
    "/models": "GET, HEAD",
    "/models/toy-classifier": "GET, HEAD, POST",
    "/v2/models/toy-classifier/infer": "POST",
    "/livez": "GET, HEAD",
    "/docs": "GET, HEAD",
    "/openapi.json": "GET, HEAD",
    "/": "GET, HEAD, POST",
    "/nothing": "GET, HEAD, POST",
}


async def preflight(client: httpx.AsyncClient, path: str, method: str) -> httpx.Response:
    return await client.options(path, headers={"origin": PAGE, "access-control-request-method": method})


async def test_a_preflight_names_the_methods_of_its_path_and_no_others(tmp_path: Path) -> None:
    async with in_process(allowing(tmp_path, PAGE, root_path="/vision")) as (client, _):
        for path, methods in METHODS.items():
            for asked in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
                answer = await preflight(client, f"/vision{path}", asked)
                assert answer.status_code == (200 if asked in methods.split(", ") else 400), (path, asked)
                if answer.status_code == 200:
                    assert answer.headers["access-control-allow-methods"] == methods
                else:
                    assert answer.json()["detail"].endswith(f"with {methods}.")


async def test_pages_may_administrate_with_the_token(tmp_path: Path) -> None:
    settings = allowing(tmp_path, PAGE, admin_port=0, admin_token="a token for tests")  # noqa: S106
    methods = {
        "/models": "GET",
        "/rescan": "POST",
        "/models/toy-classifier/1": "DELETE, POST",
        "/models/toy-classifier/aliases/canary": "DELETE, PUT",
    }
    async with in_process(settings) as (_, services):
        transport = httpx.ASGITransport(create_admin_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as admin:
            for path, allowed in methods.items():
                for asked in ("GET", "POST", "PUT", "DELETE"):
                    answer = await preflight(admin, path, asked)
                    assert answer.status_code == (200 if asked in allowed.split(", ") else 400), (path, asked)
                asking = {"origin": PAGE, "access-control-request-method": allowed.split(", ")[0]}
                answer = await admin.options(path, headers=asking | {"access-control-request-headers": "authorization"})
                assert answer.headers["access-control-allow-methods"] == allowed
                assert answer.headers["access-control-allow-headers"] == "authorization"
                assert answer.headers["access-control-allow-origin"] == PAGE
            token = {"authorization": "Bearer a token for tests"}
            for headers, status in (({}, 401), (token, 200)):
                path = "/models/toy-classifier/aliases/canary?version=1"
                answer = await admin.put(path, headers={**headers, "origin": PAGE})
                assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
            assert (await preflight(admin, "/models", "GET")).headers["x-request-id"]
            elsewhere = await admin.get("/models", headers={**token, "origin": "https://evil.example"})
            assert "access-control-allow-origin" not in elsewhere.headers


async def test_another_page_may_read_nothing(tmp_path: Path) -> None:
    async with in_process(allowing(tmp_path, PAGE)) as (client, _):
        for origin in ("https://evil.example", f"{PAGE}.evil.example", "http://photos.example", "null"):
            answer = await client.post("/classify", content=RED, headers={**PNG, "origin": origin})
            assert answer.status_code == 200
            assert "access-control-allow-origin" not in answer.headers


async def test_by_default_no_page_may_read_anything(client: httpx.AsyncClient) -> None:
    answer = await client.post("/classify", content=RED, headers={**PNG, "origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = {"origin": PAGE, "access-control-request-method": "POST"}
    assert (await client.options("/classify", headers=asked)).status_code == 405
