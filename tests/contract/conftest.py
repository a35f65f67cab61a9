"""A real server on a real socket with toy models, for what only shows there."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serving import Running, running, settings_for
from tests.support import write_segmenter

MAX_REQUEST_BYTES = 300_000


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("models")
    settings = settings_for(models, max_request_bytes=MAX_REQUEST_BYTES)
    write_segmenter(models)
    with running(settings) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client
