import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emo_serve.process.dispatcher import Dispatcher
from emo_serve.process.worker_handle import Child
from tests.serving import until

pytestmark = pytest.mark.anyio


class Workers:
    """Workers without processes, and the far ends of the sockets on which they are given connections."""

    def __init__(self, count: int) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
        process = cast("Any", SimpleNamespace(send_signal=print))  # it does not listen
        self.children = [Child(process, cast("Any", None), near) for near, _ in pairs]
        self.ends = [far for _, far in pairs]
        self.dispatcher = Dispatcher(self.listener, self.children)
        self.clients: list[socket.socket] = []

    def ready(self, *numbers: int) -> None:
        for number in numbers:
            self.children[number].state = "ready"
        self.dispatcher.update()

    async def connect(self, count: int = 1) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            client = socket.socket()
            client.settimeout(0)
            self.clients.append(client)
            await loop.sock_connect(client, self.listener.getsockname())

    @property
    def given(self) -> list[int]:
        return [child.open_connections for child in self.children]


@pytest.fixture
async def workers(anyio_backend: str) -> AsyncIterator[Workers]:  # noqa: ARG001  for anyio
    workers = Workers(3)
    with contextlib.ExitStack() as closing:
        for end in workers.ends:
            closing.enter_context(end)
        workers.dispatcher.open()
        yield workers
        workers.dispatcher.close()
        for client in workers.clients:
            client.close()
        for child in workers.children:
            child._end_connections()


async def test_connections_wait_until_a_worker_is_ready(workers: Workers) -> None:
    await workers.connect(3)
    assert workers.given == [0, 0, 0]
    workers.ready(1)
    await until(lambda: workers.given == [0, 3, 0])


async def test_a_connection_goes_to_the_worker_with_the_fewest_in_turn_among_equals(workers: Workers) -> None:
    workers.ready(0, 1, 2)
    await workers.connect(7)
    await until(lambda: sum(workers.given) == 7)
    assert sorted(workers.given) == [2, 2, 3]
    most = workers.given.index(3)
    workers.children[most]._taken, workers.children[most]._closed = 3, 3
    await workers.connect(2)
    await until(lambda: sum(workers.given) == 6)
    assert workers.given == [2, 2, 2]


async def test_a_worker_that_has_just_ended_costs_no_connection(workers: Workers) -> None:
    workers.ready(0, 1)
    workers.ends[0].close()
    await workers.connect(4)
    await until(lambda: workers.given == [0, 4, 0])


async def test_a_worker_that_takes_nothing_over_is_given_no_more_than_a_few(workers: Workers) -> None:
    workers.ready(0)
    await workers.connect(70)
    await until(lambda: workers.given == [64, 0, 0])
    workers.ready(1)
    await until(lambda: workers.given == [64, 6, 0])


async def test_a_burst_waits_for_a_worker_that_is_busy_for_a_moment_instead_of_going_to_the_others(
    workers: Workers,
) -> None:
    workers.ready(0, 1)
    quick, busy = workers.children[:2]
    await workers.connect(500)
    for turn in range(1, 200):
        quick._note_connections(quick._sent, 0)
        if turn % 20 == 0:
            busy._note_connections(busy._sent, 0)
        workers.dispatcher.update()
        await asyncio.sleep(0.01)
    assert sum(workers.given) == 500
    assert max(workers.given) <= 275
