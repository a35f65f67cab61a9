"""Which replica a balancer should choose, tried on simulated replicas with bounded queues.

    python -m bench.balancing [--limit 64] [--service-ms 30] [--requests 60000]

Policies: ``random``; ``leastconn``, the fewest requests at a time; ``weighted``, the fewest for its speed, as with the
agent check. ``retry`` sends what one replica refused to another one, once.
"""

import argparse
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.load.arrivals import quantile

SPEEDS = {"alike": (1.0, 1.0, 1.0), "one slow": (1.0, 1.0, 0.3)}
LOADS = (0.8, 0.95, 1.2)


@dataclass(frozen=True, slots=True)
class Replicas:
    """Replicas that each compute one request at a time, in ``service_seconds`` by ``speeds``, and hold ``limit``."""

    speeds: Sequence[float]
    service_seconds: float
    limit: int

    @property
    def capacity(self) -> float:
        """Requests a second that all can take."""
        return sum(self.speeds) / self.service_seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of all requests; seconds of the answered ones."""

    refused: float
    sent: float
    """Requests to replicas for one of a client, 1 without retries."""
    p50: float
    p99: float


Choose = Callable[[Sequence[int], Sequence[int], Sequence[float], random.Random], int]
"""Gives one of the candidates, by the requests at each replica and its speed."""


def _any(candidates: Sequence[int], held: Sequence[int], speeds: Sequence[float], chance: random.Random) -> int:
    del held, speeds
    return chance.choice(candidates)


def _fewest(candidates: Sequence[int], held: Sequence[int], speeds: Sequence[float], chance: random.Random) -> int:
    del speeds
    return min(candidates, key=lambda one: (held[one], chance.random()))


def _fewest_for_speed(
    candidates: Sequence[int], held: Sequence[int], speeds: Sequence[float], chance: random.Random
) -> int:
    return min(candidates, key=lambda one: (held[one] / speeds[one], chance.random()))


POLICIES: dict[str, tuple[Choose, int]] = {
    "random": (_any, 1),
    "random, retry": (_any, 2),
    "leastconn": (_fewest, 1),
    "leastconn, retry": (_fewest, 2),
    "weighted": (_fewest_for_speed, 1),
}


def simulate(policy: str, replicas: Replicas, load: float, requests: int, seed: int = 1) -> Outcome:
    """Send so many requests by chance (Poisson), ``load`` times what the replicas can take."""
    choose, most_tries = POLICIES[policy]
    chance = random.Random(seed)  # noqa: S311  # no secret
    numbers = range(len(replicas.speeds))
    held, free_at = [0 for _ in numbers], [0.0 for _ in numbers]
    leaving: list[tuple[float, int]] = []
    now, refused, sent = 0.0, 0, 0
    seconds: list[float] = []
    for _ in range(requests):
        now += chance.expovariate(replicas.capacity * load)
        while leaving and leaving[0][0] <= now:
            held[heapq.heappop(leaving)[1]] -= 1
        candidates = list(numbers)
        for _ in range(most_tries):
            sent += 1
            chosen = choose(candidates, held, replicas.speeds, chance)
            if held[chosen] < replicas.limit:
                service = replicas.service_seconds / replicas.speeds[chosen] * chance.uniform(0.5, 1.5)
                free_at[chosen] = max(free_at[chosen], now) + service
                held[chosen] += 1
                heapq.heappush(leaving, (free_at[chosen], chosen))
                seconds.append(free_at[chosen] - now)
                break
            candidates.remove(chosen)
        else:
            refused += 1
    return Outcome(refused / requests, sent / requests, quantile(seconds, 0.5), quantile(seconds, 0.99))


def main() -> None:
    """Print a table of all replicas, loads and policies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=64, help="requests that a replica holds")
    parser.add_argument("--service-ms", type=float, default=30)
    parser.add_argument("--requests", type=int, default=60_000)
    arguments = parser.parse_args()
    print("| replicas | load | policy | refused | sent for one | p50 | p99 |\n|---|---|---|---|---|---|---|")
    for kind, speeds in SPEEDS.items():
        replicas = Replicas(speeds, arguments.service_ms / 1000, arguments.limit)
        for load in LOADS:
            for policy in POLICIES:
                outcome = simulate(policy, replicas, load, arguments.requests)
                times = f"{outcome.p50:.2f} s | {outcome.p99:.2f} s"
                print(f"| {kind} | {load} | {policy} | {outcome.refused:.1%} | {outcome.sent:.2f} | {times} |")


if __name__ == "__main__":
    main()
