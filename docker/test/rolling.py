"""``emo-serve rollout`` over three replicas behind HAProxy while others ask: ``rolling.py [--rate 10]``.

One version that is good, one that fails its self-test, and one that is gone before the second replica has loaded it:
the first has to be served by all, the others by none, and no request may fail.
"""

import argparse
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from chaos import ROOT, URL, Stack
from swapping import KINDS, NAME, Versions, served_by

from tests.load.checked import CheckedLoad, photos, questions

PAUSE_SECONDS = 4


class Rolling:
    """Versions that come to all replicas of a stack, or to none."""

    def __init__(self, stack: Stack, models: Path, token: str) -> None:
        self._stack = stack
        self._folder = models / NAME
        self._token = token
        self.complaints: list[str] = []

    def rollout(self, version: int) -> int:
        """Run the command; its exit code."""
        urls = [address.replace(":8000", ":8001") for address in self._stack.addresses()]
        options = [word for url in urls for word in ("--replica", url)]
        command = [".venv/bin/emo-serve", "rollout", NAME, str(version), "--pause", str(PAUSE_SECONDS), *options]
        environment = {"EMO_ADMIN_TOKEN": self._token}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603  own words

    def break_golden(self, version: int) -> None:
        """Have the version's outputs differ from what its manifest says."""
        file = self._folder / str(version) / "manifest.json"
        manifest = json.loads(file.read_text())
        (golden,) = manifest["golden"]["outputs"]
        golden["values"] = [value + 0.5 for value in golden["values"]]
        file.write_text(json.dumps(manifest))

    def remove_soon(self, version: int) -> None:
        """Take the version away once a replica serves it."""
        while not any(version in served for served in served_by(self._stack)):
            time.sleep(0.2)
        shutil.rmtree(self._folder / str(version))

    def expect(self, version: int, code: int, wanted: int, *, served: bool) -> None:
        """Complain unless the command ended so, and all replicas serve the version, or none."""
        has = [version in versions for versions in served_by(self._stack)]
        if code != wanted or has != [served] * len(has):
            self.complaints.append(f"version {version}: exit code {code}, served: {has}")


def rolled(versions: Versions, rolling: Rolling) -> None:
    """The three rollouts."""
    version = versions.bring()
    rolling.expect(version, rolling.rollout(version), 0, served=True)
    version = versions.bring()
    rolling.break_golden(version)
    rolling.expect(version, rolling.rollout(version), 1, served=False)
    version = versions.bring()
    taking = threading.Thread(target=rolling.remove_soon, args=(version,))
    taking.start()
    rolling.expect(version, rolling.rollout(version), 1, served=False)
    taking.join()


def main() -> int:
    """Print the verdict; 1 where it is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    arguments = parser.parse_args()
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        versions = Versions(ROOT / "models", models)
        for parent in (Path(folder), models, models / NAME):
            parent.chmod(0o777)  # the server's user is another one
        stack = Stack("haproxy", "docker/test/rolling.yml", ROLLING_MODELS=str(models), ROLLING_TOKEN=token)
        with stack.running():
            rolling = Rolling(stack, models, token)
            load = CheckedLoad(URL, questions(URL, photos(), KINDS), arguments.rate)
            load.start()
            try:
                rolled(versions, rolling)
            finally:
                report = load.stop()
    bad = [*report.failures[:20], *rolling.complaints]
    print(f"load: {report}", *bad, f"verdict: {'BAD' if bad else 'good'}", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
