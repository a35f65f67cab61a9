import os
from pathlib import Path

import pytest

from emo_serve.files import open_regular, read_regular


def test_a_file_is_read_up_to_its_limit_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file", 4) == read_regular(tmp_path / "link", 4) == b"1234"
    with pytest.raises(OSError, match="larger than the 3 bytes"):
        read_regular(tmp_path / "file", 3)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("fifo")
    refused = {"fifo": "a FIFO", "link": "a FIFO", ".": "a folder", "loop": "symbolic links", "nothing": "No such file"}
    for name, reason in refused.items():
        with pytest.raises(OSError, match=reason):
            open_regular(tmp_path / name)
    with pytest.raises(OSError, match="a device"):
        open_regular(Path("/dev/zero"))
