"""A request passes through few functions: docs/architecture.md draws the path."""

from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from emo_serve.api.http.exchange import CONNECTION
from emo_serve.main import create_app
from emo_serve.settings import Batching
from tests.api.connections import Connection
from tests.helpers.entries import counting
from tests.serving import settings_for
from tests.support import encode_image, plain, write_classifier

pytestmark = pytest.mark.anyio

MOST = 50
PHOTO = encode_image(plain("red", 640, 480), "JPEG")


async def entered(models: Path) -> set[tuple[str, str]]:
    """The functions that answering a photo enters from other files, as (file, name)."""
    app = create_app(settings_for(models, batching=Batching(max_batch_size=1)))

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application as our server does, with its connection."""
        await app({**scope, "extensions": {CONNECTION: Connection()}}, receive, send)

    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(served)) as client:
        with counting() as entries:
            for is_warm in (False, False, True):
                entries.counts = is_warm
                response = await client.post(
                    "http://server/classify", content=PHOTO, headers={"Content-Type": "image/jpeg"}
                )
                assert response.json()["classifications"][0]["name"] == "red"
    return set(entries.functions)


async def test_on_the_inline_path_an_image_enters_at_most_fifty_functions_of_other_files(tmp_path: Path) -> None:
    found = await entered(tmp_path)
    assert {"Deployment.predict", "InlineExecutor._work", "infer", "decode"} <= {name for _, name in found}
    assert len(found) <= MOST, sorted(found)


async def test_a_split_adds_one_function_and_only_where_it_is_configured(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    write_classifier(tmp_path, version="2")
    config = tmp_path / "toy-classifier/serving.json"
    config.write_text('{"aliases": {"default": "1"}}')
    pinned = await entered(tmp_path)
    assert "Route.choose" not in {name for _, name in pinned}
    config.write_text('{"aliases": {"default": "1"}, "splits": {"default": {"shares": {"1": 0.5, "2": 0.5}}}}')
    new = {name for _, name in await entered(tmp_path) - pinned}
    assert new - {"InlineExecutor._stopped"} == {"Route.choose"}  # a thread stops when it will
