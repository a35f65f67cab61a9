"""Completion by a real shell, on a terminal of its own."""

import contextlib
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support import write_classifier, write_detector

SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(emo-serve completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(emo-serve completion zsh)"'),
    "fish": (["--no-config", "-i"], "emo-serve completion fish | source"),
}
# The command, but what it would do is said instead.
COMMAND = """#!/bin/sh
case "$*" in completion*|models) exec {python} -m emo_serve "$@" ;; esac
echo "said: $* :end"
"""


class Terminal:
    """A shell to type into."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._shown = ""

    def type(self, keys: str) -> None:
        """Type keys; earlier output is dropped."""
        self._shown = ""
        os.write(self._end, keys.encode())

    def shows(self, text: str, seconds: float = 60) -> bool:
        """True if the text is shown in time."""
        end = time.monotonic() + seconds
        while text not in self._shown and time.monotonic() < end:
            if select.select([self._end], [], [], 0.1)[0]:
                self._shown += os.read(self._end, 65536).decode(errors="replace")
        return text in self._shown


@contextlib.contextmanager
def terminal(shell: str, arguments: list[str], environment: dict[str, str]) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", shell, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(ours)
        finally:
            process.kill()
            os.close(ours)


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"there is no {request.param} here")
    folder = tmp_path_factory.mktemp(request.param)
    models = folder / "models"
    models.mkdir()
    write_classifier(models, "pets")
    write_detector(models, "street-objects")
    command = folder / "bin" / "emo-serve"
    command.parent.mkdir()
    command.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    (folder / "photo.jpg").touch()
    arguments, loading = SHELLS[request.param]
    environment = os.environ | {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "EMO_MODELS": str(models),
        "HOME": str(folder),
        "TERM": "dumb",
    }
    with terminal(program, arguments, environment) as typed:
        typed.type(f"cd {folder}; {loading}; echo load''ed\n")
        assert typed.shows("loaded")
        yield typed


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("emo-serve predi", "predict"),
        ("emo-serve predict --iou", "predict --iou-threshold"),
        ("emo-serve predict pho", "predict photo.jpg"),
        ("emo-serve predict photo.jpg --max-d", "predict photo.jpg --max-detections"),
        ("emo-serve predict --task seg", "predict --task segment"),
        ("emo-serve predict --model str", "predict --model street-objects"),
        ("emo-serve models pe", "models pets"),
        ("emo-serve key n", "key new"),
    ],
)
def test_a_shell_completes(shell: Terminal, typed: str, completed: str) -> None:
    shell.type(f"{typed}\t\n")
    assert shell.shows(f"said: {completed} :end")
