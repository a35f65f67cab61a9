"""The page at /: what the server gives, to whom, and what a browser lets the page do."""

import re
from importlib import resources
from pathlib import Path

import httpx
import pytest

from emo_serve.api.routes.playground import FILES
from tests.serving import in_process, settings_for

pytestmark = pytest.mark.anyio

FOLDER = resources.files("emo_serve") / "playground"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def loaded_by(page: str) -> set[str]:
    return set(re.findall(r'(?:src|href)="([^"]+)"', page))


async def test_the_page_may_load_only_what_the_server_itself_gives_and_run_no_script_within(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")) == POLICY
    assert not re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=", answer.text)
    assert not re.findall(r"(https?:)?//\w", answer.text)


async def test_every_file_that_the_page_and_its_modules_name_is_given_as_what_it_is(client: httpx.AsyncClient) -> None:
    kinds = {"js": "javascript", "css": "text/css", "svg": "image/svg", "jpg": "image/jpeg", "txt": "text/plain"}
    named = {address.removeprefix(".") for address in loaded_by((await client.get("/")).text)}
    for path in FILES:
        answer = await client.get(path)
        assert answer.status_code == 200
        if path != "/playground/index.html":
            assert kinds[path.rpartition(".")[2]] in answer.headers["content-type"], path
        named |= {
            f"/playground/{name}" for name in re.findall(r'from "\./(\w+\.js)"', answer.text if ".js" in path else "")
        }
    assert named - FILES == {"/docs", "/openapi.json"}
    assert {path for path in FILES if path.endswith((".js", ".css"))} <= named  # and none that nobody loads


async def test_a_browser_asks_whether_a_file_has_changed_and_gets_it_only_if_so(client: httpx.AsyncClient) -> None:
    first = await client.get("/playground/main.js")
    assert first.headers.get_list("cache-control") == ["no-cache"]
    assert len(first.headers.get_list("content-security-policy")) == 1
    assert first.headers["x-content-type-options"] == "nosniff"
    again = await client.get("/playground/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert again.headers.get_list("cache-control") == ["no-cache"]
    other = await client.get("/playground/main.js", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize(
    "name",
    ["", "nothing.js", "../main.py", "..%2fmain.py", "%2e%2e/settings.py", "%2fetc%2fpasswd", "a%00b", "x" * 300],
)
async def test_other_files_of_the_playground_are_not_given(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/playground/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:emo-serve:problem:not-found"


async def test_a_file_is_only_read(client: httpx.AsyncClient) -> None:
    assert (await client.head("/playground/main.js")).status_code == 200
    for method, path in (("POST", "/playground/main.js"), ("PUT", "/")):
        answer = await client.request(method, path, content=b"x")
        assert (answer.status_code, answer.json()["type"]) == (405, "urn:emo-serve:problem:method-not-allowed")


@pytest.mark.parametrize("path", ["/", "/vision", "/vision/"])
async def test_below_a_path_the_page_loads_its_files_from_there(tmp_path: Path, path: str) -> None:
    async with in_process(settings_for(tmp_path, root_path="/vision")) as (client, _):
        named = loaded_by((await client.get(path)).text)
        assert {"/vision/playground/main.js", "/vision/docs"} <= named
        assert all(address.startswith("/vision/") for address in named)
        for address in named:
            assert (await client.get(address)).status_code == 200


async def test_a_trusted_proxy_may_say_below_which_path(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path, trusted_proxies=("*",))) as (client, _):
        page = (await client.get("/", headers={"X-Forwarded-Prefix": "/a/b"})).text
        assert 'src="/a/b/playground/main.js"' in page
        hostile = (await client.get("/", headers={"X-Forwarded-Prefix": '/a"><script>'})).text
        assert hostile == (await client.get("/")).text


async def test_switched_off_there_is_no_page_and_the_root_leads_to_the_description(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path, playground=False)) as (client, _):
        root = await client.get("/")
        assert (root.status_code, root.headers["location"]) == (307, "/docs")
        assert (await client.get("/docs")).status_code == 200
        for path in FILES:
            assert (await client.get(path)).status_code == 404


def test_the_page_is_small_and_its_photos_say_where_they_come_from() -> None:
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert sum(map(len, files.values())) < 150_000
    assert sum(len(data) for name, data in files.items() if name.endswith(".jpg")) < 60_000
    for name in files:
        if name.endswith(".jpg"):
            assert re.search(rf"^{re.escape(name)} .*public domain", files["photos.txt"].decode(), flags=re.MULTILINE)
