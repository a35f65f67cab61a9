"""Time a light model alone and beside a heavy one that is kept busy, over HTTP.

    python -m bench.interference photo.jpg --light http://127.0.0.1:8000/classify --heavy http://127.0.0.1:8000/detect

Requests to the light model come by chance (Poisson), each on a connection of its own; the heavy one has so many
clients that always have a request under way. The phases take turns, so that a busy machine disturbs both alike.
"""

import argparse
import asyncio
import itertools
from pathlib import Path

from bench.overload import LONG_MS, Answer, Target, address, busy_clients, by_chance, quantile_seconds, statuses


async def light_phase(target: Target, rate: float, seconds: float) -> list[Answer]:
    """The answers of the light model."""
    answers: list[Answer] = []

    async def one(number: int) -> None:
        answers.append(await target.ask(address(number), LONG_MS))

    await by_chance(rate, seconds, one)
    return answers


async def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="What a busy heavy model does to a light one.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--light", required=True, help="where the timed requests go")
    parser.add_argument("--heavy", required=True, help="where the other clients go")
    parser.add_argument("--rate", type=float, default=20, help="timed requests a second")
    parser.add_argument("--clients", type=int, default=4, help="clients of the heavy model")
    parser.add_argument("--seconds", type=float, default=10, help="length of each phase")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    photo = options.photo.read_bytes()
    light, heavy = Target(options.light, photo), Target(options.heavy, photo)
    await busy_clients(light, map(address, range(2)), 2)  # warm
    alone, beside, of_heavy = [], [], []
    for _ in range(options.rounds):
        alone += await light_phase(light, options.rate, options.seconds)
        clients = map(address, itertools.islice(itertools.count(1_000_000), options.clients))
        job = asyncio.ensure_future(busy_clients(heavy, clients, options.seconds))
        await asyncio.sleep(1)  # until the heavy model is busy
        beside += await light_phase(light, options.rate, options.seconds - 1)
        of_heavy += await job
    for name, answers in (("alone", alone), ("beside", beside)):
        p50, p99 = (quantile_seconds(answers, share) * 1000 for share in (0.5, 0.99))
        print(f"light {name:6}  p50 {p50:.1f} ms, p99 {p99:.1f} ms, {statuses(answers)}")
    rate = len(of_heavy) / options.seconds / options.rounds
    print(f"heavy         {rate:.2f}/s, p50 {quantile_seconds(of_heavy, 0.5) * 1000:.0f} ms, {statuses(of_heavy)}")


if __name__ == "__main__":
    asyncio.run(main())
