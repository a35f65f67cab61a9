"""Simulate a day of requests to replicas that an autoscaler adds and removes, for several thresholds.

    python -m bench.autoscaling
    python -m bench.autoscaling --service-ms 12 --start-seconds 90 --mean-rate 150

Each request is an event. The load of the day falls to a third of its mean at night, and a crowd comes within a minute
in the afternoon. The balancer sends to the replica that has the least work left, which is nearly the one with the
fewest requests; a replica has one core and a queue, refuses what it could not answer within the deadline, and tells the
age of its queue and its use of CPU as it does in production. A client that is refused comes back once, after
Retry-After. Replicas are added as the HorizontalPodAutoscaler does it (kubernetes.io, "Horizontal Pod Autoscaling",
algorithm details), with the behaviour of the shipped chart. ``docs/autoscaling.md`` has the results.
"""

import argparse
import heapq
import math
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

DAY_SECONDS = 86_400
SYNC_SECONDS, SCRAPE_SECONDS, WINDOW_SECONDS = 15, 5, 30
TOLERANCE = 0.1
"""Of the autoscaler: it does nothing about a ratio that differs less from 1."""
QUEUE = 256
"""Images that wait at most in a replica."""
CROWD_AT, CROWD_SECONDS, CROWD_FACTOR = 15 * 3600, 900, 3.0
BINS_A_DECADE = 50

_FREE = attrgetter("free")


class Policy(NamedTuple):
    """When replicas are added and removed.

    ``queue_age`` is in seconds, ``cpu`` in per cent of a core; 0: not looked at. ``calm`` are the seconds for which the
    load has to be lower before a replica goes.
    """

    name: str
    queue_age: float = 0.5
    cpu: float = 80.0
    calm: int = 300
    fixed: int = 0


POLICIES = (
    Policy("as shipped"),
    Policy("CPU alone", queue_age=0),
    Policy("queue age alone", cpu=0),
    Policy("queue age 0.1 s", queue_age=0.1),
    Policy("queue age 2 s", queue_age=2.0),
    Policy("CPU 60 %", cpu=60),
    Policy("CPU 70 %", cpu=70),
    Policy("CPU 90 %", cpu=90),
    Policy("removed after 60 s", calm=60),
    Policy("removed after 900 s", calm=900),
)


class Machine(NamedTuple):
    """Measured seconds of a replica: for an image on its core, until it is ready, and the deadline of its requests."""

    service: float
    start: float
    deadline: float


@dataclass(slots=True)
class Replica:
    """One core with a queue, first come, first served."""

    ready: float
    free: float = 0.0
    jobs: deque[tuple[float, float]] = field(default_factory=deque)  # arrival, begin
    busy: float = 0.0
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_SECONDS // SCRAPE_SECONDS))
    work: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_SECONDS // SCRAPE_SECONDS + 1))

    def scrape(self, now: float) -> None:
        """Note the age of the oldest image that waits, and the CPU time until now."""
        while self.jobs and self.jobs[0][1] <= now:
            self.jobs.popleft()
        self.ages.append(now - self.jobs[0][0] if self.jobs else 0.0)
        self.work.append(self.busy - max(0.0, self.free - now))

    def use(self) -> float:
        """Per cent of its core over the last scrapes."""
        seconds = (len(self.work) - 1) * SCRAPE_SECONDS
        return 100 * (self.work[-1] - self.work[0]) / seconds if seconds else 0.0


@dataclass(slots=True)
class Outcome:
    """What came of a day; ``times`` counts answers by the logarithm of their seconds."""

    requests: int = 0
    refused: int = 0
    replica_seconds: float = 0.0
    most: int = 0
    times: dict[int, int] = field(default_factory=dict)

    def answered(self, seconds: float) -> None:
        """Count an answer."""
        step = math.ceil(BINS_A_DECADE * math.log10(seconds))
        self.times[step] = self.times.get(step, 0) + 1

    def quantile(self, share: float) -> float:
        """Seconds that this share of the answers does not exceed, to 5 %."""
        left = share * sum(self.times.values())
        for step in sorted(self.times):
            left -= self.times[step]
            if left <= 0:
                return 10 ** (step / BINS_A_DECADE)
        return 0.0


class Autoscaler:
    """Decides how many replicas there should be, every 15 s."""

    def __init__(self, policy: Policy, least: int, most: int) -> None:
        self._policy, self._least, self._most = policy, least, most
        self._wanted: deque[tuple[float, int]] = deque()
        self._raised = self._lowered = -math.inf

    def decide(self, now: float, running: Sequence[Replica], total: int) -> int:
        """The number from now on; there are ``total``, of which those ``running`` are ready and have been scraped."""
        if not running:
            return total
        age = sum(sum(replica.ages) / len(replica.ages) for replica in running) / len(running)
        use = sum(replica.use() for replica in running) / len(running)
        targets = ((age, self._policy.queue_age), (use, self._policy.cpu))
        ratios = [value / target for value, target in targets if target]
        wanted = max(total if abs(ratio - 1) <= TOLERANCE else math.ceil(len(running) * ratio) for ratio in ratios)
        wanted = min(max(wanted, self._least), self._most)
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self._policy.calm:
            self._wanted.popleft()
        if wanted > total and now - self._raised >= 30:
            self._raised = now
            return min(wanted, 2 * total)
        if (highest := max(count for _, count in self._wanted)) < total and now - self._lowered >= 60:
            self._lowered = now
            return max(highest, total - 1)
        return total


class Cluster:
    """The replicas behind their balancer."""

    def __init__(self, machine: Machine, policy: Policy, least: int, most: int, seed: int) -> None:
        self.machine, self.policy = machine, policy
        self.outcome = Outcome()
        self._scaler = Autoscaler(policy, least, most)
        self._replicas = [Replica(0.0) for _ in range(policy.fixed or least)]
        self._ready = [*self._replicas]
        self._chance = random.Random(seed)  # noqa: S311  # no secret

    def ask(self, now: float) -> float | None:
        """Send a request; the seconds after which to come back if it is refused."""
        best = min(self._ready, key=_FREE)
        begin = max(now, best.free)
        seconds = self.machine.service * self._chance.uniform(0.7, 1.3)
        if begin + seconds - now > self.machine.deadline or begin - now > QUEUE * self.machine.service:
            return max(1.0, math.ceil(begin - now))
        best.free = begin + seconds
        best.busy += seconds
        best.jobs.append((now, begin))
        self.outcome.answered(best.free - now)
        return None

    def scrape(self, now: float) -> None:
        """Every 5 s."""
        self._ready = [replica for replica in self._replicas if replica.ready <= now]
        for replica in self._ready:
            replica.scrape(now)

    def scale(self, now: float) -> None:
        """Every 15 s; what is removed answers what it has."""
        running = [replica for replica in self._replicas if replica.ages]
        count = self.policy.fixed or self._scaler.decide(now, running, len(self._replicas))
        for _ in range(count - len(self._replicas)):
            self._replicas.append(Replica(now + self.machine.start))
        del self._replicas[count:]
        self._ready = self._ready[:count]
        self.outcome.replica_seconds += count * SYNC_SECONDS
        self.outcome.most = max(self.outcome.most, count)


def rate_at(second: float, mean: float) -> float:
    """Requests a second at that moment of the day."""
    daily = mean * (1 - 2 / 3 * math.cos(2 * math.pi * (second / DAY_SECONDS - 1 / 12)))
    since = second - CROWD_AT
    if not 0 <= since < CROWD_SECONDS + 600:
        return daily
    share = min(1.0, since / 60) if since < CROWD_SECONDS else 1 - (since - CROWD_SECONDS) / 600
    return daily * (1 + (CROWD_FACTOR - 1) * share)


def arrivals(chance: random.Random, mean: float, start: float, end: float) -> Iterator[float]:
    """Moments by chance (Poisson), by thinning."""
    highest = mean * 5 / 3 * CROWD_FACTOR
    edges = [start + (end - start) * n / 200 for n in range(201)]
    for begin, stop in pairwise(edges):
        most = max(rate_at(begin + (stop - begin) * n / 20, mean) for n in range(21)) * 1.05
        moment = begin + chance.expovariate(min(most, highest))
        while moment < stop:
            if chance.random() * min(most, highest) < rate_at(moment, mean):
                yield moment
            moment += chance.expovariate(min(most, highest))


def simulate(
    machine: Machine, policy: Policy, mean: float, hours: tuple[float, float], *, least: int, most: int, seed: int = 1
) -> Outcome:
    """Those hours of the day."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    cluster = Cluster(machine, policy, least, most, seed)
    again: list[float] = []
    start, end = (hour * 3600 for hour in hours)
    tick = start
    for moment in arrivals(chance, mean, start, end):
        while tick <= moment:
            while again and again[0] <= tick:
                cluster.outcome.refused += cluster.ask(heapq.heappop(again)) is not None
            cluster.scrape(tick)
            if (tick - start) % SYNC_SECONDS == 0:
                cluster.scale(tick)
            tick += SCRAPE_SECONDS
        while again and again[0] <= moment:
            cluster.outcome.refused += cluster.ask(heapq.heappop(again)) is not None
        cluster.outcome.requests += 1
        if (wait := cluster.ask(moment)) is not None:
            heapq.heappush(again, moment + wait)
    return cluster.outcome


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service-ms", type=float, default=30.0, help="CPU time of an image (default 30)")
    parser.add_argument("--start-seconds", type=float, default=15.0, help="until a new replica is ready (default 15)")
    parser.add_argument("--deadline-seconds", type=float, default=10.0, help="of the clients (default 10)")
    parser.add_argument("--mean-rate", type=float, default=80.0, help="requests a second over the day (default 80)")
    parser.add_argument("--from-hour", type=float, default=0.0, help="of the day (default 0)")
    parser.add_argument("--to-hour", type=float, default=24.0, help="of the day (default 24)")
    parser.add_argument("--most", type=int, default=24, help="replicas at most (default 24)")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour, in dollars (default 0.04)")
    options = parser.parse_args()
    machine = Machine(options.service_ms / 1000, options.start_seconds, options.deadline_seconds)
    hours = (options.from_hour, options.to_hour)
    sys.stdout.write("| policy | replica hours | dollars | most replicas | refused | p50 | p99 | p99.9 |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|---|\n")
    peak = math.ceil(rate_at(CROWD_AT + 60, options.mean_rate) * machine.service / 0.8)
    for policy in (*POLICIES, Policy("as many as the crowd needs", fixed=peak)):
        found = simulate(machine, policy, options.mean_rate, hours, least=3, most=options.most)
        replica_hours = found.replica_seconds / 3600
        quantiles = " | ".join(f"{1000 * found.quantile(share):.0f} ms" for share in (0.5, 0.99, 0.999))
        sys.stdout.write(
            f"| {policy.name} | {replica_hours:.0f} | {replica_hours * options.price:.2f} | {found.most} | "
            f"{100 * found.refused / found.requests:.3f} % | {quantiles} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
