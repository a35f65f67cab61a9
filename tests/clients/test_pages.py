"""The blocks of Python in docs/protocols.md run as they stand, against a server of these tests."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.helpers.shipped import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/protocols.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block: str, url: str, grpc_address: str, photo: Path, tmp_path: Path) -> None:
    for name in ("photo.jpg", "street.jpg"):
        (tmp_path / name).symlink_to(photo)
    here = block.replace("localhost:8000", urlsplit(url).netloc).replace("localhost:8001", grpc_address)
    # In a process of its own: clients of gRPC know different messages of the same names.
    subprocess.run([sys.executable, "-c", here], cwd=tmp_path, check=True)
