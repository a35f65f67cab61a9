"""Drive a running server beyond what it can do, over HTTP, and print how it behaves.

    python -m bench.overload http://127.0.0.1:8000/classify photo.jpg --factor 4 --timeout-ms 1000

First the peak is measured with a few clients that always have a request under way. Then single images are timed, alone
and beside a bulk job from another address. Last, requests come by chance (Poisson) at a multiple of the peak, whether
earlier ones were answered or not; each is a client with an address of its own in 127.0.0.0/8, and one that is refused
comes back once, when Retry-After says. With --pid, the memory of that process is printed, and its CPU time for each
good answer, refusals included: on a busy machine that tells more than rates do.
"""

import argparse
import asyncio
import ipaddress
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.load.arrivals import closed_loop, open_loop, poisson, quantile
from tests.load.clients import Post

PEAK_CLIENTS = 16
BULK_CLIENTS = 32
LONG_MS = 30_000


class Answer(NamedTuple):
    """Answer to a request, and its time."""

    status: int
    retry_after: int
    seconds: float
    at: float


@dataclass(slots=True)
class Target:
    """The URL under load, and the photo for it."""

    url: str
    photo: bytes

    async def ask(self, address: str, timeout_ms: int) -> Answer:
        """Send the photo from a local address; status 0 where the connection failed."""
        url = urlsplit(self.url)
        post = Post(f"{url.path}?{url.query}" if url.query else url.path, self.photo)
        message = post.message(url.netloc, "Connection: close", f"X-Request-Timeout-Ms: {timeout_ms}")
        began = time.perf_counter()
        text = b""
        try:
            reader, writer = await asyncio.open_connection(url.hostname, url.port, local_addr=(address, 0))
            try:
                writer.write(message)
                text = await reader.read()
            finally:
                writer.close()
        except OSError:
            pass
        lines = text.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split()[1]) if text else 0
        end = time.perf_counter()
        return Answer(status, int(headers.get("retry-after", 0)), end - began, end)


@dataclass(slots=True)
class Outcomes:
    """Answers to first and second tries."""

    first: list[Answer] = field(default_factory=list)
    second: list[Answer] = field(default_factory=list)


def address(number: int) -> str:
    """The loopback address of client ``number``."""
    return str(ipaddress.IPv4Address("127.1.0.1") + number % 16_000_000)


async def busy_clients(target: Target, clients: Iterable[str], seconds: float) -> list[Answer]:
    """Answers to clients that send the next request as soon as they have an answer."""
    answers: list[Answer] = []

    async def send(client: str) -> None:
        answers.append(await target.ask(client, LONG_MS))

    await closed_loop(clients, seconds, send)
    return answers


async def by_chance(rate: float, seconds: float, begin: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Begin something ``rate`` times a second, at moments that do not depend on what came of it, and wait for all."""
    await open_loop(poisson(random.Random(1), rate, seconds), begin)  # noqa: S311  moments, not secrets


async def overload(target: Target, rate: float, seconds: float, timeout_ms: int, pid: int | None) -> None:
    """Print what becomes of requests at ``rate``, and of the second tries of those that obey."""
    outcomes = Outcomes()
    cpu = [cpu_seconds(pid)]
    began = time.perf_counter()
    memory = [resident_mib(pid)]

    async def client(number: int) -> None:
        answer = await target.ask(address(number), timeout_ms)
        outcomes.first.append(answer)
        if answer.status == 503:
            await asyncio.sleep(answer.retry_after)
            outcomes.second.append(await target.ask(address(number), timeout_ms))

    async def watch() -> None:
        while True:
            memory.append(resident_mib(pid))
            await asyncio.sleep(0.5)

    watcher = asyncio.ensure_future(watch())
    asyncio.get_running_loop().call_later(seconds, lambda: cpu.append(cpu_seconds(pid)))
    await by_chance(rate, seconds, client)
    watcher.cancel()
    both = outcomes.first + outcomes.second
    good = [answer for answer in both if answer.status == 200]
    accepted = [answer for answer in both if answer.status in {200, 504}]
    during = sum(began + 1 <= answer.at <= began + seconds for answer in good)
    print(f"sent at {rate:.1f}/s for {seconds:g} s, deadline {timeout_ms} ms: {statuses(outcomes.first)}")
    print(f"good answers meanwhile    {during / (seconds - 1):.1f}/s")
    print(f"accepted, p99             {quantile_seconds(accepted, 0.99) * 1000:.0f} ms")
    share = sum(answer.status == 200 for answer in outcomes.second) / max(1, len(outcomes.second))
    print(f"second tries that succeed {share:.1%} of {len(outcomes.second)}: {statuses(outcomes.second)}")
    if pid:
        done = max(1, sum(answer.at <= began + seconds for answer in good))
        print(f"CPU for each good answer  {(cpu[1] - cpu[0]) / done * 1000:.1f} ms")
        print(f"memory                    {memory[0]:.0f} MiB before, at most {max(memory):.0f} MiB")


async def fairness(target: Target, rate: float, seconds: float) -> None:
    """Print how long single images take alone and beside a bulk job."""
    single: dict[str, list[Answer]] = {"alone": [], "beside a bulk job": []}
    for name, answers in single.items():

        async def one(number: int, answers: list[Answer] = answers) -> None:
            answers.append(await target.ask(address(number), LONG_MS))

        bulk = busy_clients(target, [address(-1)] * BULK_CLIENTS, seconds) if answers is not single["alone"] else None
        job = asyncio.ensure_future(bulk) if bulk else None
        await by_chance(rate, seconds, one)
        done = f", {sum(answer.status == 200 for answer in await job)} images of the job" if job else ""
        print(
            f"single images {name}: p50 {quantile_seconds(answers, 0.5) * 1000:.0f} ms, "
            f"p99 {quantile_seconds(answers, 0.99) * 1000:.0f} ms, {statuses(answers)}{done}"
        )


def statuses(answers: list[Answer]) -> str:
    """Number of answers by status."""
    found = sorted({answer.status for answer in answers})
    return ", ".join(f"{sum(answer.status == status for answer in answers)} x {status}" for status in found)


def quantile_seconds(answers: list[Answer], share: float) -> float:
    """The seconds within which this share was answered."""
    return quantile((answer.seconds for answer in answers), share)


def resident_mib(pid: int | None) -> float:
    """The memory of a process."""
    if pid is None:
        return 0.0
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_seconds(pid: int | None) -> float:
    """The CPU time that a process has used."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="How a server behaves when it is asked for too much.")
    parser.add_argument("url", help="where to send the photo, such as http://127.0.0.1:8000/classify")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--seconds", type=float, default=10, help="length of each phase")
    parser.add_argument("--factor", type=float, default=4, help="load as a multiple of the peak")
    parser.add_argument("--timeout-ms", type=int, default=1000, help="deadline of the requests in the overload")
    parser.add_argument("--single-rate", type=float, help="single images a second; a fifth of the peak")
    parser.add_argument("--pid", type=int, help="process whose memory is watched")
    options = parser.parse_args()
    target = Target(options.url, options.photo.read_bytes())
    cpu = cpu_seconds(options.pid)
    answers = await busy_clients(target, map(address, range(PEAK_CLIENTS)), options.seconds)
    peak = sum(answer.status == 200 for answer in answers) / options.seconds
    print(f"peak, {PEAK_CLIENTS} clients          {peak:.1f}/s: {statuses(answers)}")
    if options.pid:
        print(f"CPU for each good answer  {(cpu_seconds(options.pid) - cpu) / max(1, len(answers)) * 1000:.1f} ms")
    await fairness(target, options.single_rate or peak / 5, options.seconds)
    await overload(target, options.factor * peak, options.seconds, options.timeout_ms, options.pid)


if __name__ == "__main__":
    asyncio.run(main())
