"""Run the TypeScript client's tests, or another of its scripts, against a real server that needs a key.

    python -m tests.typescript        (make typescript)
    python -m tests.typescript generate

The scripts find the server in EMO_URL and its key in EMO_KEY. Needs Node and the client's packages (npm ci).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from emo_serve.api.http.key_file import new_key
from tests.serving import commanded
from tests.support import write_models

CLIENT = Path(__file__).parents[1] / "client" / "typescript"


def main(scripts: list[str]) -> int:
    """The exit status of the first script that fails, else 0."""
    with tempfile.TemporaryDirectory(prefix="emo-typescript-") as folder:
        models, keys = Path(folder, "models"), Path(folder, "keys")
        write_models(models)
        key, _ = new_key("tests", keys)
        environment = {"EMO_TUNE": "false", "EMO_API_KEYS_FILE": str(keys), "EMO_BATCHING__MAX_QUEUE_SIZE": "2"}
        with commanded(models, Path(folder, "log"), 1, **environment) as server:
            for script in scripts or ["test"]:
                told = os.environ | {"EMO_URL": server.url, "EMO_KEY": key}
                status = subprocess.run(["npm", "run", script], cwd=CLIENT, env=told, check=False).returncode
                if status:
                    return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
