"""When requests begin: at moments of their own (an open loop), or when their client has an answer (a closed one)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from math import ceil
from typing import Any, TypeVar

T = TypeVar("T")


def poisson(chance: random.Random, rate: float, seconds: float) -> Iterator[float]:
    """Moments from 0 to ``seconds`` at which something happens ``rate`` times a second by chance, ascending."""
    moment = chance.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += chance.expovariate(rate)


async def open_loop(moments: Iterable[float], begin: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Begin something at each moment, in seconds from now, whatever became of earlier ones, and wait for all.

    ``begin`` gets the number of the moment, from 0.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, moment in enumerate(moments):
            await asyncio.sleep(max(0.0, start + moment - loop.time()))
            group.create_task(begin(number))


async def closed_loop(clients: Iterable[T], seconds: float, send: Callable[[T], Awaitable[object]]) -> None:
    """Have each client send again as soon as it has an answer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def client(one: T) -> None:
        while loop.time() < end:
            await send(one)

    await asyncio.gather(*map(client, clients))


def quantile(values: Iterable[float], share: float) -> float:
    """The least value that this share of the values does not exceed; 0 if there are none."""
    ascending = sorted(values)
    return ascending[max(1, ceil(share * len(ascending))) - 1] if ascending else 0.0
