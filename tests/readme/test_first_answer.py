"""The README, followed literally in a clean clone: how long a newcomer waits for the first answer, and for the next.

Only what is committed is cloned. The clock runs from the command to the answer, installation and tuning included.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 1200  # of a machine that is busy; the limits below are those that fail
NOTHING_SECONDS = 35
AGAIN_SECONDS = 2


def commands() -> tuple[str, str]:
    """The two commands of the README's start: what serves, and what asks."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Start")[2]
    serve, ask = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[:2]
    return serve, ask


@contextlib.contextmanager
def typed(command: str, folder: Path, environment: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, running in a shell until Ctrl-C; what it says is in ``output``."""
    with (
        output.open("wb") as said,
        subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as shell,
    ):
        try:
            yield shell
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGINT)
                shell.wait(PATIENCE_SECONDS)


def seconds_to_an_answer(folder: Path, environment: dict[str, str]) -> float:
    """From typing the first command to the whole answer that the second one gets."""
    serve, ask = commands()
    port = int(environment["PORT"])
    output = folder.parent / "output"
    begin = time.perf_counter()
    with typed(serve, folder, environment, output) as shell:
        while not listens(port):
            assert shell.poll() is None, output.read_text()
            assert time.perf_counter() - begin < PATIENCE_SECONDS, output.read_text()
            time.sleep(0.02)
        curl = shlex.split(ask.replace("localhost:8000", f"localhost:{port}"))
        answer = subprocess.run(curl, cwd=folder, check=True, capture_output=True, timeout=PATIENCE_SECONDS).stdout
        taken = time.perf_counter() - begin
    assert json.loads(answer)["detections"][0]["name"] == "motorcycle"
    return taken


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, float]:
    """Until the first answer from nothing, and until that of another start."""
    clone = tmp_path_factory.mktemp("readme") / "emo-serve"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    settings = re.compile(r"EMO_|MAKE|MFLAGS|ARGS|ORT_")  # those of this test's own run
    environment = {name: value for name, value in os.environ.items() if not settings.match(name)}
    environment |= {"PORT": str(free_port()), "EMO_CACHE_DIR": str(clone.parent / "cache")}
    taken = seconds_to_an_answer(clone, environment), seconds_to_an_answer(clone, environment)
    sys.stdout.write(f"\nfrom nothing to an answer {taken[0]:.1f} s, from another start {taken[1]:.2f} s\n")
    return taken


def test_the_first_answer_comes_soon_after_nothing(seconds: tuple[float, float]) -> None:
    assert seconds[0] <= NOTHING_SECONDS, f"{seconds[0]:.1f} s from a clone to the first answer"


def test_another_start_with_remembered_tuning_answers_at_once(seconds: tuple[float, float]) -> None:
    assert seconds[1] <= AGAIN_SECONDS, f"{seconds[1]:.2f} s from another start to an answer"
