"""The command ``emo-serve add``, and the server that is asked about what was added."""

import functools
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.__main__ import main
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.registry.trial_process import TrialProcess, spawned
from emo_serve.settings import Settings
from tests.serving import in_process, settings_for
from tests.support import encode_image


def add(file: Path, task: str, *options: str | Path) -> int:
    """The exit status; the models are in a folder beside the file."""
    arguments = ["add", file, "--name", "theirs", "--task", task, "--models", file.parent / "models", *options]
    (file.parent / "models").mkdir(exist_ok=True)
    return main([str(argument) for argument in arguments])


class PatientPreflight(Preflight):
    """Tries in a process that is there for all tests: to start one takes longer than most of them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, trials())

    def rest(self) -> None:
        """Not yet."""

    def close(self) -> None:
        """Not yet."""


@functools.cache
def trials() -> TrialProcess:
    """The process, which a fixture ends."""
    return spawned()


async def ask(models: Path, task: str, *pictures: NDArray[np.uint8], **query: Any) -> list[Any]:  # noqa: ANN401
    """The server's answers about the pictures, sent together."""
    files = [("file", ("a.png", encode_image(picture), "image/png")) for picture in pictures]
    settings = settings_for(models, tune=False)
    async with in_process(settings, preflight=PatientPreflight(settings)) as (client, _):
        answer = await client.post(f"/{task}", files=files, params={"model": "theirs", **query})
    assert answer.status_code == httpx.codes.OK, answer.text
    found = answer.json()
    results = [entry.get("result", entry) for entry in found.get("results", [found])]
    return [result["classifications" if task == "classify" else "detections"] for result in results]


def refused(capsys: pytest.CaptureFixture[str], models: Path) -> str:
    """The message of a refusal, after which nothing is left."""
    assert list(models.rglob("*")) == []
    output, errors = capsys.readouterr()
    assert "added" not in output
    assert errors.startswith("emo-serve: ")
    assert "Traceback" not in errors
    return errors
