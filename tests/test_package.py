"""Both wheels, as somebody gets them who installs them into an environment of their own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import encode_image, plain

ROOT = Path(__file__).parent.parent
USERS_OWN = 'raise ImportError("of the user")\n'


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's and the client's."""
    folder, source = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("source")  # it leaves what it builds
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "typescript")
    for name in ("app", "emo", "models", "client"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(source), str(source / "client")], check=True, capture_output=True)
    (server,), (client,) = folder.glob("emo_serve-*.whl"), folder.glob("emo_client-*.whl")
    return server, client


@pytest.fixture(scope="module")
def installed(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that has the two wheels and, of this one, the packages that they need."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-index"]
    subprocess.run([*command, "--no-deps", *map(str, wheels)], check=True, capture_output=True)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    (site / "needed.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # behind its own; what is editable is not seen
    return folder / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the user works: with a photo, and an ``app`` of their own."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text(USERS_OWN)
    (tmp_path / "red.png").write_bytes(encode_image(plain("red")))
    return tmp_path


@pytest.fixture
def address(installed: Path, folder: Path) -> Iterator[str]:
    """The address of a server that is started in the user's folder without any option about models."""
    environment = os.environ | {"EMO_TUNE": "false", "EMO_WORKERS": "1"}
    command = [str(installed / "emo-serve"), "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
        finally:
            server.terminate()


def test_a_wheel_brings_no_module_that_a_user_may_have_too(wheels: tuple[Path, Path]) -> None:
    for wheel, packages in zip(wheels, ({"emo_serve", "emo"}, {"emo_client"}), strict=True):
        names = zipfile.ZipFile(wheel).namelist()
        assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == packages
        assert {f"{package}/py.typed" for package in packages} <= set(names)
    served = set(zipfile.ZipFile(wheels[0]).namelist())
    assert {"emo_serve/models/emo-1m/3/manifest.json", "emo_serve/playground/index.html"} <= served


def test_what_is_installed_serves_its_models_beside_an_app_of_the_users_own(
    installed: Path, folder: Path, address: str
) -> None:
    def said(*command: str) -> str:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300).stdout

    models = json.loads(said("curl", "--fail", "--silent", f"{address}/models"))["models"]
    assert {model["name"] for model in models} == {"emo-1m", "ssdlite-emo-1m"}
    said("curl", "--fail", "--silent", f"{address}/playground/main.js")
    photo = ("--data-binary", "@red.png", "--header", "Content-Type: image/png")
    by_curl = json.loads(said("curl", "--fail", "--silent", *photo, f"{address}/classify"))["classifications"]

    code = f"from emo_client import Client; print(Client({address!r}).classify('red.png').classifications[0].name)"
    assert said(str(installed / "python"), "-c", code).strip() == by_curl[0]["name"]
    row = json.loads(said(str(installed / "emo-serve"), "predict", "red.png", "--url", address, "--json"))
    assert row["classifications"] == by_curl
