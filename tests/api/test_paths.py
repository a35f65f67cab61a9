"""Below what path a proxy publishes the server, slashes at the end, and paths that there are not."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from emo_serve.api.wire.paths import Paths
from tests.serving import in_process, settings_for
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio

RED = encode_image(plain("red"))
PNG = {"content-type": "image/png"}


def settled(path: str, paths: Paths, told: str | None = None, address: str | None = "10.1.2.3") -> tuple[str, str]:
    """The path that routes see, and the prefix that clients do."""
    scope: dict[str, Any] = {"path": path, "state": {}, "client": None if address is None else (address, 1)}
    paths.resolve(scope, {} if told is None else {b"x-forwarded-prefix": told.encode()})
    return scope["path"], scope["state"].get("prefix", "")


@pytest.mark.parametrize("path", ["/classify", "/models", "/models/toy-detector", "/livez", "/docs", "/metrics"])
async def test_a_slash_at_the_end_is_answered_and_not_redirected(client: httpx.AsyncClient, path: str) -> None:
    method = "POST" if path == "/classify" else "GET"
    wanted = await client.request(method, path, content=RED, headers=PNG)
    answer = await client.request(method, f"{path}/", content=RED, headers=PNG)
    assert (answer.status_code, wanted.status_code) == (200, 200)
    if path not in {"/metrics", "/docs"}:
        assert answer.json() == wanted.json()


@pytest.mark.parametrize("path", ["/", "/vision", "/vision/"])
async def test_redirects_and_the_description_have_the_prefix(tmp_path: Path, path: str) -> None:
    async with in_process(settings_for(tmp_path, root_path="/vision", playground=False)) as (client, _):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/vision/docs")
        assert (await client.get("/vision/openapi.json")).json()["servers"] == [{"url": "/vision"}]
        page = (await client.get("/docs")).text
        assert "url: '/vision/openapi.json'" in page
        assert 'src="/vision/docs/swagger-ui-bundle.js"' in page
        assert (await client.get("/vision/docs/swagger-ui.css")).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/vision"])  # taken away by the proxy, or left
async def test_a_prefix_may_be_left_in_the_path_or_taken_away(tmp_path: Path, prefix: str) -> None:
    async with in_process(settings_for(tmp_path, root_path="/vision")) as (client, _):
        for slash in ("", "/", "//"):
            answer = await client.post(f"{prefix}/classify{slash}", content=RED, headers=PNG)
            assert answer.json()["classifications"][0]["name"] == "red"
        assert (await client.get(f"{prefix}/models")).status_code == 200
        assert (await client.get(f"{prefix}x/models")).status_code == 404


async def test_without_a_prefix_the_description_names_no_server(client: httpx.AsyncClient) -> None:
    assert "servers" not in (await client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/evil"})).json()


async def test_an_unknown_path_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path, root_path="/vision")) as (client, _):
        for path in ("/predict", "/v1/classify", "/Classify", "/classify/more", "/" + "x" * 9000):
            answer = await client.post(path, content=RED, headers=PNG)
            problem = answer.json()
            assert (answer.status_code, problem["type"]) == (404, "urn:emo-serve:problem:not-found")
            assert f"nothing at '/vision{path[:100]}"[:90] in problem["detail"]
            for route in ("POST /vision/classify", "POST /vision/detect", "GET /vision/models/{name}"):
                assert route in problem["detail"]
            assert len(problem["detail"]) < 700


def test_a_forwarded_prefix_is_believed_of_trusted_proxies_only() -> None:
    paths = Paths("", ("10.0.0.0/8", "::1", "192.0.2.7"))
    address: str | None
    for address in ("10.1.2.3", "::1", "192.0.2.7", "::ffff:10.1.2.3"):
        assert settled("/classify", paths, "/a", address) == ("/classify", "/a")
    for address in ("11.1.2.3", "192.0.2.8", "::2", "", "testclient", None):
        assert settled("/classify", paths, "/a", address) == ("/classify", "")
    assert settled("/classify", Paths(), "/a") == ("/classify", "")
    assert settled("/classify", Paths("", ("*",)), "/a", None) == ("/classify", "/a")


@pytest.mark.parametrize(
    ("told", "prefix"),
    [
        ("/a/b", "/a/b"),
        ("/a/", "/a"),
        ("/a, /b/", "/a/b"),
        ("", "/set"),
        ("/", "/set"),
        ("a", "/set"),
        ("//evil.example", "/set"),
        ("https://evil.example", "/set"),
        ("/a'onload", "/set"),
        ("/a<b", "/set"),
        ("/" + "a" * 300, "/set"),
    ],
)
def test_a_forwarded_prefix_that_is_no_path_is_passed_over(told: str, prefix: str) -> None:
    assert settled("/classify", Paths("/set", ("*",)), told) == ("/classify", prefix)


def test_a_prefix_that_may_be_the_beginning_of_a_route_is_left_in_the_path() -> None:
    paths = Paths("/models", (), ["/models", "/models/{name}"])
    assert settled("/models/toy", paths) == ("/models/toy", "/models")
    assert settled("/vision/models/toy/", Paths("/vision", (), ["/models"])) == ("/models/toy", "/vision")


@pytest.mark.parametrize(("path", "route"), [("/", "/"), ("", ""), ("//", "/"), ("/a//", "/a"), ("*", "*")])
def test_slashes_at_the_end_are_taken_away_and_the_only_one_is_not(path: str, route: str) -> None:
    assert settled(path, Paths()) == (route, "")
