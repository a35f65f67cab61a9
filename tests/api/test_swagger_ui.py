"""The page at /docs and all that it needs come from the server itself: it works without any network."""

import base64
import gzip
import hashlib
import re
from importlib import resources

import httpx
import pytest

pytestmark = pytest.mark.anyio

PUBLISHED = {  # SHA-384 of the files of swagger-ui-dist 5.35.0, as its authors publish them
    "swagger-ui-bundle.js": "gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
    "swagger-ui.css": "WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I",
}


async def test_the_page_may_load_what_the_server_itself_gives_and_run_the_script_whose_digest_it_states(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/docs")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    (own,) = re.findall(r"<script>(.*?)</script>", answer.text)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    assert policy["connect-src"] == "'self'"


async def test_nothing_of_the_page_comes_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert not re.findall(r"(https?:)?//\w", page)
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    assert set(loaded) == {"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/openapi.json"}
    for path in loaded:
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/redoc")).status_code == 404


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("accepted", ["gzip, br", "identity", ""])
async def test_the_files_are_those_that_the_authors_of_swagger_ui_publish(
    client: httpx.AsyncClient, name: str, accepted: str
) -> None:
    answer = await client.get(f"/docs/{name}", headers={"accept-encoding": accepted})
    assert base64.b64encode(hashlib.sha384(answer.content).digest()).decode() == PUBLISHED[name]
    assert answer.headers.get("content-encoding") == ("gzip" if "gzip" in accepted else None)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-type"].split(";")[0] == ("text/css" if name.endswith("css") else "text/javascript")


async def test_other_files_are_not_given(client: httpx.AsyncClient) -> None:
    for name in ("LICENSE", "swagger-ui.css.gz", "..%2fdocumentation.py", "%2e%2e"):
        answer = await client.get(f"/docs/{name}")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:emo-serve:problem:not-found")


def test_the_licence_and_the_notices_of_swagger_ui_come_with_it() -> None:
    folder = resources.files("emo_serve.api") / "swagger"
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "SmartBear" in (folder / "NOTICE").read_text()
    assert "MIT" in (folder / "swagger-ui-bundle.js.LICENSE.txt").read_text()
    assert gzip.decompress((folder / "swagger-ui.css.gz").read_bytes())
