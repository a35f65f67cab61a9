"""A server in this process with toy models, for the tests of the routes."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.serving import in_process, settings_for
from tests.support import write_segmenter


@pytest.fixture(scope="module")
async def client(
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    models: Path = tmp_path_factory.mktemp("models")
    settings = settings_for(models, max_images_per_request=4, max_request_bytes=200_000)
    write_segmenter(models)
    async with in_process(settings) as (client, _):
        yield client
