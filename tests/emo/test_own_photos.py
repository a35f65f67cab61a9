"""The tutorial docs/tutorials/photos.md, followed to the letter: a folder of pictures becomes an endpoint."""

import re
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, blocks
from tests.docs.shell import follow
from tests.serving import free_port


def test_a_folder_of_pictures_becomes_an_endpoint_that_knows_its_classes(tmp_path: Path) -> None:
    for folder in (".venv", "checkpoints"):
        (tmp_path / folder).symlink_to(sys.prefix if folder == ".venv" else ROOT / folder)
    page = (ROOT / "docs/tutorials/photos.md").read_text(encoding="utf-8")
    shell = follow(list(blocks(page)), tmp_path, free_port())
    assert shell.returncode == 0, shell.stderr
    assert "data: 96 pictures to learn from and 24 to measure with, of 3 classes" in shell.stdout
    looked = re.findall(r"^new/(\w+)/\d+\.jpg .*\n +[\d.]+% +(\w+)$", shell.stdout, re.MULTILINE)
    assert len(looked) == 30
    assert sum(shown == said for shown, said in looked) >= 0.7 * len(looked)  # by chance it would be a third
    assert '{"model":{"name":"shapes","version":"1"},' in shell.stdout
    assert '"labels":["disc","square","triangle"]' in shell.stdout
