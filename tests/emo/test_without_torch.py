"""What ``emo`` says of itself needs none of the packages that training does."""

import subprocess
import sys

import pytest

from emo_serve.version import installed_version

ABSENT = {"torch", "onnx", "onnxscript", "tqdm", "matplotlib", "pycocotools", "safetensors"}
CODE = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from emo.__main__ import main
sys.exit(main())
"""


def emo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    helped = emo("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    for command in ("cut", "train", "export", "evaluate", "import", "pull"):
        assert f"\n    {command} " in helped.stdout


@pytest.mark.parametrize("command", ["cut", "export", "import", "pull"])
def test_commands_say_how_they_are_used(command: str) -> None:
    helped = emo(command, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert f"emo {command} " in helped.stdout


@pytest.mark.parametrize("arguments", [("train", "classify", "--data", "x"), ("evaluate", "x", "--data", "x")])
def test_a_command_that_needs_them_says_how_they_are_had(arguments: tuple[str, ...]) -> None:
    ended = emo(*arguments)
    assert ended.returncode == 1
    assert "pip install 'emo-serve[torch]', or `make setup-torch`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_version_is_said() -> None:
    assert emo("--version").stdout.startswith(f"emo {installed_version()}")


def test_a_mistake_in_the_command_is_no_question_of_packages() -> None:
    ended = emo("trian")
    assert ended.returncode == 2
    assert "invalid choice: 'trian'" in ended.stderr
