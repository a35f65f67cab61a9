"""The comparison with other servers: a peer finds what it is given."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.servers import PEER_PATH

ROOT = Path(__file__).parent.parent


def test_a_peer_that_has_packages_only_finds_our_pixels() -> None:
    packages = sysconfig.get_path("purelib")  # without what is installed as editable, which no peer has
    code = f"import sys; sys.path.append({packages!r}); import work; print(work.prepare(sys.stdin.buffer.read()).shape)"
    environment = os.environ | {"PYTHONPATH": PEER_PATH, "BENCH_PIXELS": "served"}
    with (ROOT / "docs" / "images" / "motorcycle.jpg").open("rb") as photo:
        command = [sys.executable, "-S", "-c", code]
        shape = subprocess.run(command, stdin=photo, env=environment, check=True, stdout=subprocess.PIPE).stdout
    assert shape == b"(224, 224, 3)\n"
