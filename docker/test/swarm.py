"""The compose file on Docker Swarm, under load: ``swarm.py [--runs 5]``.

Makes this engine a swarm of one node, for the time of the test where it is none. Nothing else should run on it: an
engine that leaves a swarm forgets the names of composed services too. Events:

- update: the service gets a new image; Swarm starts each new replica before it stops an old one.
- kill: the process of one replica is killed; Swarm starts another.
- scale: three replicas become five, then two, then three.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable

import httpx
from chaos import AFTER_SECONDS, PATIENCE_SECONDS, observed, row, run

NAME = "emo-serve-swarm"
SERVICE = f"{NAME}_app"
IMAGE = "emo-serve:swarm-test"
FILES = ["docker/test/compose.yml", "docker/test/swarm.yml"]


def wait_for(what: str, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Return when the condition holds; raises TimeoutError when it does not come to that."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.5)


def build(number: int) -> str:
    """An image with a tag of its own: Swarm tells images without a registry by their tags."""
    image = f"{IMAGE}-{number}"
    base = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")
    run(
        "docker",
        "build",
        "--tag",
        image,
        "--build-arg",
        f"REVISION={number}",
        "--build-arg",
        f"PYTHON_IMAGE={base}",
        ".",
    )
    return image


def containers(service: str) -> list[str]:
    """Running tasks of a service."""
    label = f"label=com.docker.swarm.service.name={service}"
    return run("docker", "ps", "--quiet", "--no-trunc", "--filter", label).split()


def settled(number: int) -> bool:
    """True if so many replicas run and are healthy, and no others."""
    lines = run("docker", "ps", "--filter", f"label=com.docker.swarm.service.name={SERVICE}", "--format", "{{.Status}}")
    return [line.endswith("(healthy)") for line in lines.splitlines()] == [True] * number


def balancer() -> str:
    """Address of the balancer from this machine."""
    (network,) = json.loads(run("docker", "network", "inspect", "docker_gwbridge"))
    (container,) = containers(f"{NAME}_balancer")
    address = network["Containers"][container]["IPv4Address"].split("/")[0]
    return f"http://{address}:8000"


def answers(url: str) -> bool:
    """True if a replica is ready behind the balancer."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


def update() -> None:
    """Give the stack the image whose number follows."""
    before = run("docker", "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", SERVICE)
    number = int(before.strip().rpartition("-")[2]) + 1
    old = set(containers(SERVICE))
    run("docker/stack", NAME, *FILES, EMO_IMAGE=f"{IMAGE}-{number}")
    state = ("docker", "service", "inspect", "--format", "{{.UpdateStatus.State}}", SERVICE)
    wait_for("the update is not completed", lambda: run(*state).strip() == "completed", 300)
    wait_for("three new replicas", lambda: settled(3) and not old & set(containers(SERVICE)))


def kill() -> None:
    """One replica is gone from one moment to the next."""
    pid = run("docker", "inspect", "--format", "{{.State.Pid}}", containers(SERVICE)[0])
    os.kill(int(pid), signal.SIGKILL)
    time.sleep(AFTER_SECONDS)
    wait_for("three replicas", lambda: settled(3))


def scale() -> None:
    """More replicas, fewer, and as many as before."""
    for number in (5, 2, 3):
        run("docker", "service", "scale", "--detach", f"{SERVICE}={number}")
        wait_for(f"{number} replicas", lambda number=number: settled(number))  # type: ignore[misc]
        time.sleep(AFTER_SECONDS)


EVENTS: dict[str, Callable[[], None]] = {"update": update, "kill": kill, "scale": scale}


def tried(runs: int, rate: float) -> int:
    """Deploy, try every event; the number of requests that failed."""
    images = [build(number) for number in range(runs + 1)]
    failed = 0
    try:
        run("docker", "compose", "--file", "docker-compose.yml", "--file", FILES[0], "build", "balancer", "prometheus")
        run("docker/stack", NAME, *FILES, EMO_IMAGE=images[0])
        wait_for("three replicas", lambda: settled(3))
        wait_for(
            "an address", lambda: bool(run("docker", "ps", "--quiet", "--filter", f"name={NAME}_balancer").strip())
        )
        url = balancer()
        wait_for("a balancer that answers", lambda: answers(url))
        for name, event in EVENTS.items():
            reports = [observed(f"swarm {name}", url, rate, event) for _ in range(runs)]
            failed += row("swarm", name, reports)
    finally:
        run("docker", "stack", "rm", NAME)
        ours = ("--quiet", "--filter", f"name={NAME}_")
        wait_for("the end of all containers", lambda: not run("docker", "ps", "--all", *ours).split())
        run("docker", "image", "rm", *images)
        run("docker", "volume", "rm", *run("docker", "volume", "ls", *ours).split())
    return failed


def main() -> int:
    """Print a row for each event; 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    arguments = parser.parse_args()
    ours = run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
    if ours:
        run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        failed = tried(arguments.runs, arguments.rate)
    finally:
        if ours:
            run("docker", "swarm", "leave", "--force")
    print(f"{failed} requests failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
