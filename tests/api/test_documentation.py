"""The page at /docs runs one script from elsewhere, in the version whose digest it states, and one of its own."""

import base64
import hashlib
import re

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_the_page_may_run_its_own_script_and_the_one_whose_digest_it_states(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    (elsewhere,) = re.findall(r'<script src="([^"]+)" integrity="sha384-[\w+/]{64}" crossorigin', answer.text)
    (own,) = re.findall(r"<script>(.*?)</script>", answer.text)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy["script-src"] == f"{elsewhere} 'sha256-{digest}'"
    (style,) = re.findall(
        r'<link rel="stylesheet" href="([^"]+)" integrity="sha384-[\w+/]{64}" crossorigin', answer.text
    )
    assert policy["style-src"].split()[0] == style
    assert policy["default-src"] == "'none'"
    assert all(re.search(r"@\d+\.\d+\.\d+/", url) for url in (elsewhere, style))  # one exact version


async def test_the_page_asks_for_nothing_else_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert len(re.findall(r"https?://", page)) == 2
    assert (await client.get("/openapi.json")).status_code == 200
    assert (await client.get("/redoc")).status_code == 404
