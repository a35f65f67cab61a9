"""Send a real server requests that schemathesis makes of its OpenAPI document, valid ones and others.

    python -m tests.fuzz 1000        (make fuzz EXAMPLES=1000)

So many for each operation. Every answer must be one that the document describes, never a 500, and what the document
forbids must be refused. Needs requirements/fuzz.txt.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.serving import commanded
from tests.support import write_models

CONFIG = Path(__file__).with_name("schemathesis.toml")
PROGRAM = Path(sys.executable).with_name("st")


def main(arguments: list[str]) -> int:
    """The exit status of schemathesis."""
    examples, *others = arguments
    with tempfile.TemporaryDirectory(prefix="emo-fuzz-") as folder:
        models, log = Path(folder, "models"), Path(folder, "log")
        write_models(models)
        # Other protocols have methods of their own at its paths (Hugging Face's POST /models/{name}).
        with commanded(models, log, 1, EMO_TUNE="false", EMO_LOG_LEVEL="warning", EMO_PROTOCOLS="") as server:
            command = [str(PROGRAM), "--config-file", str(CONFIG), "run", f"{server.url}/openapi.json"]
            options = ["--max-examples", examples, "--generation-database", "none", *others]
            status = subprocess.run([*command, *options], cwd=folder, env=os.environ, check=False).returncode
            sys.stdout.write(log.read_text(encoding="utf-8"))  # what the server warned of
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
