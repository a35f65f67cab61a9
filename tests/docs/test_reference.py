"""Generated documentation agrees with the code."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pages_that_make_reference_writes_are_current() -> None:
    command = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]
    compared = subprocess.run(command, check=False, capture_output=True, text=True)
    assert compared.returncode == 0, compared.stderr
