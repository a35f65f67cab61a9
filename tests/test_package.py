"""The wheel, as somebody gets it who installs it into an environment of their own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.support import encode_image, plain

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")  # it leaves what it builds
    for name in ("app", "emo", "models"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_brings_no_module_that_a_user_may_have_too(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"emo_serve", "emo"}
    assert {"emo_serve/py.typed", "emo/py.typed", "emo_serve/models/emo-1m/2/manifest.json"} <= set(names)
    assert "emo_serve/playground/index.html" in names


def test_the_wheel_serves_the_models_it_brings_beside_an_app_of_the_users_own(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise ImportError('the user's own')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed"), "EMO_TUNE": "false", "EMO_WORKERS": "1"}
    command = [sys.executable, "-m", "emo_serve", "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
            photo, headers = encode_image(plain("red")), {"content-type": "image/png"}
            answer = httpx.post(f"{address}/classify", content=photo, headers=headers, timeout=30)
            assert answer.status_code == 200
            assert httpx.get(f"{address}/playground/main.js", timeout=30).status_code == 200
            served = httpx.get(f"{address}/models", timeout=30).json()["models"]
        finally:
            server.terminate()
    assert {model["name"] for model in served} == {"emo-1m", "ssdlite-emo-1m"}
