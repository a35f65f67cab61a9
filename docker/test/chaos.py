"""Takes replicas away while others ask, and counts what they notice: ``chaos.py [haproxy|nginx …] [--runs 5]``.

Builds and starts the compose file under a project name of its own and removes it in the end. Events:

- kill: ``docker kill -s KILL`` of one replica; then it is started again.
- stop: ``docker stop`` of one replica; then it is started again.
- crash: the process of one replica is killed from outside (needs root); the engine starts it again by itself.
- scale: three replicas become five, then two, then three.
- replace: all replicas are replaced by those of a new image, one by one (``docker/roll``).
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.load.checked import CheckedLoad, Report, photos, questions

ROOT = Path(__file__).resolve().parents[2]
PORT = os.environ.get("BALANCER_PORT", "18000")
URL = f"http://127.0.0.1:{PORT}"
FILES = {
    "haproxy": ["docker-compose.yml", "docker/test/compose.yml"],
    "nginx": ["docker-compose.yml", "docker/nginx.yml", "docker/test/compose.yml", "docker/test/nginx.yml"],
}
BEFORE_SECONDS = 2
AFTER_SECONDS = 3
PATIENCE_SECONDS = 60


def run(*command: str, **variables: str) -> str:
    """Output of the command; raises RuntimeError with its error output if it fails."""
    environment = {**os.environ, "BALANCER_PORT": PORT, **variables}
    done = subprocess.run(  # noqa: S603  the commands of this file
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"{' '.join(command)}: {done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return done.stdout


def addresses(*containers: str) -> list[str]:
    """Their addresses from this machine."""
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return [f"http://{line}:8000" for line in run("docker", "inspect", "--format", network, *containers).split()]


class Stack:
    """The composed services behind one kind of balancer, with more files of compose and the variables in them."""

    def __init__(self, balancer: str, *more: str, **variables: str) -> None:
        self.options = ["--project-name", f"emo-serve-chaos-{balancer}"]
        self._variables = variables
        for file in (*FILES[balancer], *more):
            self.options += ["--file", file]
        self._images = 0

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run docker compose on them."""
        return run("docker", "compose", *self.options, *arguments, **(self._variables | variables))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Build and start it, without Prometheus; remove it in the end, with its last log lines after a failure."""
        try:
            self.compose("build")
            self.compose("up", "--detach", "--wait", "--scale", "prometheus=0")
            yield
        except BaseException:
            print(self.compose("logs", "--tail", "60"), file=sys.stderr)
            raise
        finally:
            self.compose("down", "--volumes", "--timeout", "20")

    def replicas(self) -> list[str]:
        """The running containers."""
        return self.compose("ps", "--quiet", "app").split()

    def addresses(self) -> list[str]:
        """Addresses of the running containers from this machine."""
        return addresses(*self.replicas())

    def scale(self, replicas: int) -> None:
        """Have so many replicas, those that run being left alone."""
        self.compose("up", "--detach", "--no-recreate", "--no-deps", "--wait", "--scale", f"app={replicas}", "app")

    def new_image(self) -> None:
        """Build an image that differs from the last one."""
        self._images += 1
        self.compose("build", "app", REVISION=f"{time.time():.0f}-{self._images}")

    def roll(self) -> None:
        """Replace all replicas."""
        run("docker/roll", *self.options)

    def wait_until_healthy(self, container: str) -> None:
        """Return when the engine calls the container healthy; raises TimeoutError when it does not come to that."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if run("docker", "inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy":
                return
            time.sleep(0.5)
        msg = f"{container} has not become healthy"
        raise TimeoutError(msg)


def kill(stack: Stack) -> None:
    """One replica is gone from one moment to the next; by ``docker kill``, after which it stays away."""
    victim = stack.replicas()[0]
    run("docker", "kill", "--signal", "KILL", victim)
    time.sleep(AFTER_SECONDS)
    run("docker", "start", victim)
    stack.wait_until_healthy(victim)


def stop(stack: Stack) -> None:
    """One replica is told to stop."""
    victim = stack.replicas()[0]
    run("docker", "stop", victim)
    time.sleep(AFTER_SECONDS)
    run("docker", "start", victim)
    stack.wait_until_healthy(victim)


def crash(stack: Stack, victim: str = "") -> None:
    """One replica ends by itself, the first unless another is named; the engine starts it again."""
    victim = victim or stack.replicas()[0]
    before = run("docker", "inspect", "--format", "{{.State.StartedAt}} {{.State.Pid}}", victim).split()
    os.kill(int(before[1]), signal.SIGKILL)
    end = time.monotonic() + PATIENCE_SECONDS
    while run("docker", "inspect", "--format", "{{.State.StartedAt}}", victim).strip() == before[0]:
        if time.monotonic() > end:
            msg = f"{victim} has not been started again"
            raise TimeoutError(msg)
        time.sleep(0.5)
    stack.wait_until_healthy(victim)


def scale(stack: Stack) -> None:
    """More replicas, fewer, and as many as before."""
    for replicas in (5, 2, 3):
        stack.scale(replicas)
        time.sleep(AFTER_SECONDS)


def replace(stack: Stack) -> None:
    """Another image for all."""
    before = set(stack.replicas())
    stack.roll()
    if before & set(stack.replicas()):
        msg = "a replica was not replaced"
        raise RuntimeError(msg)


EVENTS: dict[str, Callable[[Stack], None]] = {
    "kill": kill,
    "stop": stop,
    "crash": crash,
    "scale": scale,
    "replace": replace,
}


def observed(name: str, url: str, rate: float, event: Callable[[], None]) -> Report:
    """Effect of one event on clients."""
    load = CheckedLoad(url, questions(url, photos()), rate)
    load.start()
    try:
        time.sleep(BEFORE_SECONDS)
        event()
        time.sleep(AFTER_SECONDS)
    finally:
        report = load.stop()
    print(f"{name}: {report}", *report.failures[:10], sep="\n  ", flush=True)
    return report


def row(balancer: str, event: str, reports: Sequence[Report]) -> int:
    """Print the row of the table; the number of requests that failed."""
    lost = [len(report.failures) for report in reports]
    slowest = ", ".join(f"{report.slowest:.2f}" for report in reports)
    answered = sum(report.answered for report in reports)
    print(f"| {balancer} | {event} | {answered} | {', '.join(map(str, lost))} | {slowest} |", flush=True)
    return sum(lost)


def tried(balancer: str, events: Sequence[str], runs: int, rate: float) -> int:
    """Try every event behind one balancer; the number of requests that failed."""
    stack = Stack(balancer)
    failed = 0
    with stack.running():
        for event in events:
            reports = []
            for _ in range(runs):
                if event == "replace":
                    stack.new_image()
                reports.append(observed(f"{balancer} {event}", URL, rate, partial(EVENTS[event], stack)))
            failed += row(balancer, event, reports)
    return failed


def main() -> int:
    """Print a row for each event; 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("balancers", nargs="*", default=list(FILES), metavar="BALANCER", help="haproxy, nginx")
    parser.add_argument("--events", nargs="+", choices=EVENTS, default=list(EVENTS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    arguments = parser.parse_args()
    print("| balancer | event | answered | failed, by run | slowest answer in s, by run |\n|---|---|---|---|---|")
    failed = [tried(name, arguments.events, arguments.runs, arguments.rate) for name in arguments.balancers]
    print(f"{sum(failed)} requests failed")
    return 1 if sum(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
