"""A server in this process with one toy model for each task, for the tests of the adapters."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from emo_serve.api.http.services import Services
from tests.serving import in_process, settings_for
from tests.support import write_segmenter

Served = tuple[httpx.AsyncClient, Services]


@pytest.fixture(scope="module")
async def served(
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    models: Path = tmp_path_factory.mktemp("models")
    settings = settings_for(models, max_images_per_request=4, max_request_bytes=200_000)
    write_segmenter(models)
    async with in_process(settings) as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> httpx.AsyncClient:
    return served[0]
