"""A real server on a real socket with toy models, for what only shows there."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serving import Running, running, settings_for

MAX_REQUEST_BYTES = 300_000


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = settings_for(tmp_path_factory.mktemp("models"), max_request_bytes=MAX_REQUEST_BYTES)
    with running(settings) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client
