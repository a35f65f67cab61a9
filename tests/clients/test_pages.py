"""The blocks of Python in docs/protocols.md run as they stand, against a server of these tests."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.helpers.shipped import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/protocols.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block: str, url: str, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photo.jpg", "street.jpg"):
        (tmp_path / name).symlink_to(photo)
    monkeypatch.chdir(tmp_path)
    exec(block.replace("localhost:8000", urlsplit(url).netloc), {})  # noqa: S102  what the page says
