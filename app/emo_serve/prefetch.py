"""Prefetch: concurrent work in threads with results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(work: Callable[[T], R], items: Iterable[T], at_a_time: int) -> Iterator[R]:
    """``work`` of each item, in order, ``at_a_time`` of them concurrently; as many more are queued or done.

    Raise what ``work`` raises; queued items are then not started.
    """
    pool = ThreadPoolExecutor(at_a_time)
    running: deque[Future[R]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) == 2 * at_a_time:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
