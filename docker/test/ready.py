"""Seconds from the start of a container of its own until /readyz says 200: ``ready.py IMAGE MOST_SECONDS``."""

import os
import subprocess
import sys
import time
from datetime import datetime

import httpx

PORT = os.environ.get("BALANCER_PORT", "18000")
PATIENCE_SECONDS = 60
LIMITS = ["--cpus", "1", "--memory", "2g", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]  # noqa: S108  in there


def docker(*arguments: str) -> str:
    """Output of the command; raises CalledProcessError if it fails."""
    command = ["docker", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603  ours


def wait_until_ready() -> None:
    """Return when the container takes requests; raises TimeoutError when it does not come to that."""
    end = time.monotonic() + PATIENCE_SECONDS
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=5) as client:
        while time.monotonic() < end:
            try:
                if client.get("/readyz").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
    msg = "the container is not ready"
    raise TimeoutError(msg)


def main(image: str, most_seconds: float) -> int:
    """Print the seconds; 1 where there are more than allowed."""
    container = docker("run", "--detach", "--rm", *LIMITS, "--publish", f"127.0.0.1:{PORT}:8000", image)
    try:
        wait_until_ready()
        ready = time.time()
        started = datetime.fromisoformat(docker("inspect", "--format", "{{.State.StartedAt}}", container)).timestamp()
    finally:
        docker("stop", container)
    print(f"ready {ready - started:.2f} s after its start, at most {most_seconds:g} are allowed")
    return 1 if ready - started > most_seconds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
