"""The shipped models, served by the command in SERVE_COMMAND: for environments apart from the server's."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "docs" / "images" / "motorcycle.jpg"


@contextmanager
def shipped_server(**variables: str) -> Iterator[str]:
    """The address of a server that runs meanwhile, without a slash at its end."""
    command = [os.environ["SERVE_COMMAND"], "serve", "--port", "0", "--workers", "1", "--no-tune"]
    environment = {**os.environ, "EMO_MODELS": str(ROOT / "models"), **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        yield server.stdout.readline().split(" at ")[1].split()[0].rstrip("/")
        server.terminate()
