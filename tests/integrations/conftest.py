"""A server with the shipped models."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from emo_client import Client

from tests.helpers.shipped import PHOTO, shipped_server


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with shipped_server() as address:
        yield address


@pytest.fixture(scope="session")
def photo() -> Path:
    return PHOTO


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client
