"""A server with the shipped models, started by the command in SERVE_COMMAND, and what its own routes answer."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Own = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    command = [os.environ["SERVE_COMMAND"], "serve", "--port", "0", "--workers", "1", "--no-tune"]
    environment = {**os.environ, "EMO_MODELS": str(ROOT / "models")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        yield server.stdout.readline().split(" at ")[1].split()[0].rstrip("/")
        server.terminate()


@pytest.fixture(scope="session")
def photo() -> Path:
    return ROOT / "docs" / "images" / "motorbike.jpg"


@pytest.fixture(scope="session")
def own(url: str, photo: Path) -> Own:
    """Asks one of the own routes, as ``/detect``, about the photo."""

    def ask(path: str) -> dict[str, Any]:
        request = urllib.request.Request(url + path, photo.read_bytes(), {"Content-Type": "image/jpeg"})  # noqa: S310  our own address
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            content: dict[str, Any] = json.load(answer)
        return content

    return ask
