"""A server with the shipped models, started by the command in SERVE_COMMAND: its packages may not fit these."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from emo_client import Client

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    command = [os.environ["SERVE_COMMAND"], "serve", "--port", "0", "--workers", "1", "--no-tune"]
    environment = {**os.environ, "EMO_MODELS": str(ROOT / "models")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        yield server.stdout.readline().split(" at ")[1].split()[0]
        server.terminate()


@pytest.fixture(scope="session")
def photo() -> Path:
    return ROOT / "docs" / "images" / "motorbike.jpg"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client
