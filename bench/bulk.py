"""How long a bulk job takes on many machines, and what stragglers, lost machines and the size of shards make of it.

A simulation of what ``emo-serve batch --engine ray`` does: each core takes the next shard when it is done with one; a
machine that is lost gives its shards back and is replaced after some minutes; the driver hands shards out one by one.
The same seed gives the same figures.

    python bench/bulk.py --rate 100 --machines 100 --cores 4 --pictures 10000000
"""

import argparse
import heapq
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is assumed; times in seconds."""

    machines: int
    cores: int
    rate: float
    """Pictures a second of a core."""
    slow_share: float
    """Of the machines that are stragglers, and how much slower they are."""
    slow_factor: float
    hours_between_failures: float
    """Of one machine."""
    replaced_after: float
    started_after: float
    """Until the first shard begins: machines, image, model."""
    driver_seconds: float
    """That the driver is busy with a shard."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hours until the last shard, the share of them in which cores computed what counts, and machines lost."""

    hours: float
    used: float
    lost: int


class Machine:
    """A place in the cluster: one machine after another, each of its own speed and lifetime."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._lives: list[tuple[float, float, float]] = []

    def life(self, number: int) -> tuple[float, float, float]:
        """When machine ``number`` of this place starts and dies, and how much slower than others it is."""
        while len(self._lives) <= number:
            before = self._lives[-1][1] + self._cluster.replaced_after if self._lives else self._cluster.started_after
            lifetime = self._chance.expovariate(1 / (self._cluster.hours_between_failures * 3600))
            is_slow = self._chance.random() < self._cluster.slow_share
            self._lives.append((before, before + lifetime, self._cluster.slow_factor if is_slow else 1.0))
        return self._lives[number]

    def lost_before(self, moment: float) -> int:
        """How many machines of this place have died by then."""
        return sum(death < moment for _, death, _ in self._lives)


def simulate(cluster: Cluster, pictures: int, shard_size: int, seed: int) -> Outcome:
    """One job."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    places = [Machine(cluster, chance) for _ in range(cluster.machines)]
    idle = [
        (cluster.started_after, place, core, 0) for place in range(cluster.machines) for core in range(cluster.cores)
    ]
    heapq.heapify(idle)
    left = -(-pictures // shard_size)
    useful = driver_free = end = 0.0
    returned: list[float] = []  # when the shards at work on machines that die come back
    while left or returned:
        now, place, core, number = heapq.heappop(idle)
        if not left:  # until one comes back
            now = max(now, heapq.heappop(returned))
            left = 1
        _, death, slower = places[place].life(number)
        begin = driver_free = max(driver_free, now) + cluster.driver_seconds
        seconds = shard_size / cluster.rate * slower * max(chance.gauss(1, 0.05), 0.5)
        if begin >= death:  # idle when it died
            heapq.heappush(idle, (places[place].life(number + 1)[0], place, core, number + 1))
            continue
        left -= 1
        if begin + seconds > death:
            heapq.heappush(returned, death)
            heapq.heappush(idle, (places[place].life(number + 1)[0], place, core, number + 1))
            continue
        useful += seconds
        end = max(end, begin + seconds)
        heapq.heappush(idle, (begin + seconds, place, core, number))
    lost = sum(place.lost_before(end) for place in places)
    return Outcome(end / 3600, useful / (end * cluster.machines * cluster.cores), lost)


def main() -> None:
    """Print a table: shard sizes, each calm, with stragglers, and with machines that are lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, required=True, help="pictures a second of one core, as measured")
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--cores", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=10_000_000)
    parser.add_argument("--price", type=float, default=0.15, help="of a machine for an hour, in dollars")
    parser.add_argument("--driver-milliseconds", type=float, default=5.0, help="of the driver for 1000 pictures")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    weathers = {
        "calm": (0.0, 1.0, 1e9),
        "5 % of the machines at a third of the speed": (0.05, 3.0, 1e9),
        "and each lost every 2 hours, as spot machines": (0.05, 3.0, 2.0),
    }
    print("| shard | | hours | cores computing | machines lost | cost |\n|---|---|---|---|---|---|")
    for size in (100, 1000, 10_000):
        for name, (share, factor, between) in weathers.items():
            cluster = Cluster(
                machines=options.machines,
                cores=options.cores,
                rate=options.rate,
                slow_share=share,
                slow_factor=factor,
                hours_between_failures=between,
                replaced_after=180.0,
                started_after=120.0,
                driver_seconds=options.driver_milliseconds / 1000 * size / 1000,
            )
            found = simulate(cluster, options.pictures, size, options.seed)
            cost = found.hours * options.machines * options.price
            print(f"| {size:,} | {name} | {found.hours:.2f} | {found.used:.0%} | {found.lost} | ${cost:.2f} |")


if __name__ == "__main__":
    main()
