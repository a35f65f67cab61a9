"""The example of docs/training.md: five classes, 200 pictures, from nothing to a served endpoint."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx

from tests.emo.datasets import SHAPES, shape
from tests.serving import commanded

ROOT = Path(__file__).parents[2]
LEARNED = 40
ASKED = 10


def test_a_folder_of_pictures_becomes_an_endpoint_that_knows_its_classes(tmp_path: Path) -> None:
    for name in SHAPES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(LEARNED):
            shape(name, k).save(tmp_path / "photos" / name / f"{k}.jpg")
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    documented = re.search(
        r"^\.venv/bin/python (-m emo train classify .*)$", (ROOT / "docs/training.md").read_text(), re.MULTILINE
    )
    assert documented
    command = [sys.executable, *shlex.split(documented[1]), "--schedule", "64x10"]  # smaller and shorter, for the time
    trained = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    assert "data: 160 pictures to learn from and 40 to measure with, of 5 classes" in trained.stdout
    curl = re.search(
        r"curl --data-binary @photo\.jpg -H '([\w-]+): ([\w/]+)' 'http://localhost:8000(\S+)'", trained.stdout
    )
    assert curl
    with (
        commanded(tmp_path / "models", tmp_path / "log", workers=1) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        right = 0
        for name in SHAPES:
            for k in range(LEARNED, LEARNED + ASKED):
                path = tmp_path / "photo.jpg"
                shape(name, k).save(path)
                answer = client.post(curl[3], content=path.read_bytes(), headers={curl[1]: curl[2]}).json()
                assert answer["model"] == {"name": "pets", "version": "1"}
                right += answer["classifications"][0]["name"] == name
    assert right >= 0.6 * ASKED * len(SHAPES)  # by chance it would be a fifth
