"""A server with the shipped models, and what its own routes answer."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.shipped import PHOTO, shipped_server

Own = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with shipped_server() as address:
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
