"""A server with the shipped models, and what its own routes answer."""

import json
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.shipped import PHOTO, shipped_server

Own = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def grpc_address() -> str:
    """Where the same server answers calls of gRPC."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session", autouse=True)
def url(grpc_address: str) -> Iterator[str]:
    with shipped_server(EMO_GRPC_PORT=grpc_address.partition(":")[2]) as address:
        yield address


@pytest.fixture(scope="session")
def photo() -> Path:
    return PHOTO


@pytest.fixture(scope="session")
def own(url: str, photo: Path) -> Own:
    """Asks one of the own routes, as ``/detect``, about the photo."""

    def ask(path: str) -> dict[str, Any]:
        request = urllib.request.Request(url + path, photo.read_bytes(), {"Content-Type": "image/jpeg"})  # noqa: S310  our own address
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            content: dict[str, Any] = json.load(answer)
        return content

    return ask
