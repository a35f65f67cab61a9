"""What a worker publishes of reserved moments reaches all others."""

import asyncio
import contextlib
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emo_serve.process.ipc import Channel
from emo_serve.process.supervisor import Supervisor
from emo_serve.process.worker_handle import WorkerHandle
from emo_serve.settings import Settings
from tests.serving import until

pytestmark = pytest.mark.anyio

UPDATES = [["toy/1", "127.0.0.1 2000", 12.5, "reserved"]]


async def ended() -> int:
    return 0


async def test_the_supervisor_passes_updates_on_to_all_but_the_worker_that_sent_them() -> None:
    async with contextlib.AsyncExitStack() as closing:
        listener = closing.enter_context(socket.socket())
        supervisor = Supervisor(Settings(workers=3), listener, None)
        workers: list[Channel] = []
        children: list[WorkerHandle] = []
        for number in range(3):
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            connections, its_connections = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            closing.enter_context(its_connections)
            process = cast("Any", SimpleNamespace(pid=number, wait=ended, send_signal=print))
            children.append(WorkerHandle(process, await Channel.over(near), connections))
            workers.append(await Channel.over(far))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(supervisor._follow(child, asyncio.Event()))
            for worker in workers:
                worker.send("ready", ("toy 1", ""))
            await until(lambda: all(child.state == "ready" for child in children))
            for worker in workers:
                worker.send("reservations", UPDATES)
            heard = [worker.messages() for worker in workers]
            for messages in heard:
                assert [await anext(messages), await anext(messages)] == [("reservations", UPDATES)] * 2
            for worker in workers:
                await worker.close()
        for messages in heard:
            assert [message async for message in messages] == []  # its own does not come back
