"""Three replicas, alike or one of them slow, with more load than they can take: with the agent check and without.

    python docker/test/balance.py PHOTO.jpg [--rounds 3] [--seconds 12] [--factor 1.2]

Prints for each kind of replicas and of balancing, in turn, the share that was refused, and the times of the answers.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from chaos import ROOT, URL, Stack, run

from tests.load.generator import Load, Result, request_bytes

CLIENTS = 400
SETTLE_SECONDS = 4.0
CORES = {"alike": (0.4, 0.4, 0.4), "one slow": (0.4, 0.4, 0.12)}
AGENT = re.compile(r" agent-check agent-port \d+ agent-inter \w+")


def load(photo: Path) -> Load:
    """Photos for the classifier, through the balancer."""
    url = urlsplit(URL)
    request = request_bytes(f"{URL}/classify", photo.read_bytes())
    return Load((url.hostname or "", url.port or 80), request, CLIENTS, b"classifications")


def row(replicas: str, balancing: str, result: Result) -> None:
    """Print one measurement."""
    asked = sum(result.statuses.values()) + result.lost + result.unanswered
    failed = asked - result.statuses[200] - result.statuses[503]
    times = " | ".join(f"{result.quantile(share) / 1000:.2f}" for share in (0.5, 0.99))
    refused = result.statuses[503] / asked
    print(f"| {replicas} | {balancing} | {asked} | {refused:.3f} | {failed} | {times} |", flush=True)


def main() -> None:
    """Start the stack, measure in rounds, remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--factor", type=float, default=1.2, help="load in multiples of what all can take")
    arguments = parser.parse_args()
    text = (ROOT / "docker/haproxy.cfg").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        configurations = {"leastconn": AGENT.sub("", text), "leastconn and agent check": text}
        for name, content in configurations.items():
            Path(folder, f"{name}.cfg").write_text(content, encoding="utf-8")
        Path(folder).chmod(0o755)
        stack = Stack("haproxy", "docker/test/balance.yml", BALANCER_CONFIGURATION=f"{folder}/leastconn.cfg")
        with stack.running():
            print("| replicas | balancing | asked | refused | failed | p50 s | p99 s |\n|---|---|---|---|---|---|---|")
            for replicas, cores in CORES.items():
                for container, share in zip(stack.replicas(), cores, strict=True):
                    run("docker", "update", "--cpus", str(share), container)
                rate = load(arguments.photo).closed_loop(arguments.seconds).rate * arguments.factor
                for _ in range(arguments.rounds):
                    for name in configurations:
                        up = ("up", "--detach", "--wait", "--no-deps", "--force-recreate", "balancer")
                        stack.compose(*up, BALANCER_CONFIGURATION=f"{folder}/{name}.cfg")
                        load(arguments.photo).open_loop(SETTLE_SECONDS, rate / arguments.factor / 2)
                        time.sleep(1)
                        row(replicas, name, load(arguments.photo).open_loop(arguments.seconds, rate))


if __name__ == "__main__":
    main()
