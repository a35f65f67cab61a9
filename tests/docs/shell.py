"""Runs the blocks of one page in order, in one shell, as somebody would who follows the page."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.docs.blocks import Block
from tests.serving import free_port

# A failed request is a failure; a server that a block starts goes on behind the blocks that follow; and what the
# Makefile would set up is there.
PREAMBLE = """
set -euo pipefail
trap 'jobs -p | xargs --no-run-if-empty kill; wait' EXIT
curl() { command curl --fail-with-body --silent --show-error "$@"; }
emo-serve() {
  if [ "$1" != serve ]; then command emo-serve "$@"; return; fi
  command emo-serve "$@" >serve.log 2>&1 &
  command curl --silent --retry 100 --retry-delay 1 --retry-connrefused --output /dev/null "localhost:$EMO_PORT/readyz"
}
.venv/bin/emo-serve() { emo-serve "$@"; }
make() {
  case "$1" in
    serve) emo-serve serve ;;
    setup | setup-*) ;;
    *) command make "$@" ;;
  esac
}
"""


def starts_a_server(blocks: Sequence[Block]) -> bool:
    """True if the page starts the server that it then asks."""
    return any(re.search(r"\b(emo-serve|make) serve\b", block.code) for block in blocks)


def follow(blocks: Sequence[Block], folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    """The shell's end, in ``folder``, with ``port`` for 8000; standard error names each block by its line first."""
    ports = {"8000": str(port), "8001": str(free_port())}
    parts = [PREAMBLE]
    for block in blocks:
        code = re.sub(r"\b800[01]\b", lambda match: ports[match[0]], block.code)
        if block.language == "python":
            code = f"python -W error - <<'END OF PYTHON'\n{code}END OF PYTHON\n"
        parts.append(f"echo 'line {block.line}' >&2\n{code}")
    environment = os.environ | {
        "EMO_PORT": str(port),
        "EMO_WORKERS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        ["bash", "-c", "\n".join(parts)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",  # a picture may be among what is said
        check=False,
        timeout=1200,
    )
