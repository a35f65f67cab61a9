import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest

from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job, Priority
from tests.engine.batching import costs_with, job, turns

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def slot(queue: FairQueue, client: str) -> AsyncIterator[Job]:
    image = job(client)
    await queue.acquire(image)
    try:
        yield image
    finally:
        if image.has_slot:
            queue.release(image)


class Queue:
    """A queue with one slot, which is taken until it is passed on, and the order in which slots were given."""

    def __init__(self, slots: int = 1) -> None:
        self.costs = costs_with(slots)
        self.fair = FairQueue(self.costs)
        self.ready = self.fair.ready
        self.given: list[str] = []
        self.next = asyncio.Semaphore(0)

    def start(self, client: str, name: str | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self._visit(client, name or client))

    async def _visit(self, client: str, name: str) -> None:
        async with slot(self.fair, client):
            self.given.append(name)
            await self.next.acquire()


async def test_clients_take_turns() -> None:
    queue = Queue()
    tasks = [queue.start("bulk", f"bulk {number}") for number in range(4)]
    await turns()
    tasks += [queue.start("one", f"one {number}") for number in range(2)]
    tasks += [queue.start("two")]
    await turns()
    assert (queue.fair.waiting, queue.fair.taken) == (6, 1)
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)
    assert queue.given == ["bulk 0", "one 0", "two", "bulk 1", "one 1", "bulk 2", "bulk 3"]
    assert (queue.fair.waiting, queue.fair.taken) == (0, 0)


async def test_new_clients_again_and_again_do_not_starve_a_bulk_job() -> None:
    queue = Queue()
    tasks = [queue.start("bulk", f"bulk {number}") for number in range(4)]
    for number in range(20):
        tasks.append(queue.start(str(number)))
        await turns()
        queue.next.release()
        await turns()
    assert [name for name in queue.given if "bulk" in name] == [f"bulk {number}" for number in range(4)]
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)


async def test_as_many_slots_are_given_as_there_are_even_when_their_number_changes() -> None:
    queue = Queue(slots=2)
    tasks = [queue.start(str(number)) for number in range(6)]
    await turns()
    assert len(queue.given) == 2
    queue.costs.slots = 3
    queue.next.release()
    await turns()
    assert len(queue.given) == 4
    queue.costs.slots = 1
    for _ in range(2):
        queue.next.release()
    await turns()
    assert len(queue.given) == 4
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)


async def test_who_leaves_gets_no_slot_and_holds_up_nobody() -> None:
    queue = Queue()
    tasks = [queue.start("client", str(number)) for number in range(200)]
    await turns()
    for task in tasks[1:150]:
        task.cancel()
    await turns()
    assert queue.fair.waiting == 50
    assert queue.fair.ahead_of("client") == 50
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.given == ["0", *map(str, range(150, 200))]


async def test_a_slot_given_to_one_who_leaves_in_the_same_turn_is_passed_on() -> None:
    queue = Queue()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slot(queue.fair, "first"))
        leaver, last = queue.start("leaver"), queue.start("last")
        await turns()
    leaver.cancel()  # it has its slot, but does not know yet
    await turns()
    assert queue.given == ["last"]
    queue.next.release()
    await last
    assert queue.fair.taken == 0


async def test_coming_and_leaving_without_end_takes_no_memory() -> None:
    queue = Queue()
    holder = queue.start("holder")
    for number in range(1000):
        task = queue.start(str(number))
        await turns(2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(queue.fair._heap) < 10
    assert list(queue.fair._clients) == ["holder"]
    queue.next.release()
    await holder


async def test_a_new_client_has_one_image_of_each_other_ahead_of_it_and_a_waiting_one_its_own_too() -> None:
    queue = Queue()
    tasks = [queue.start(client) for client in ("holder", *["bulk"] * 9, "one", "one")]
    await turns()
    assert queue.fair.ahead_of("new") == 2
    assert queue.fair.ahead_of("one") == 2 + 3
    assert queue.fair.ahead_of("bulk") == 9 + 2
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)


async def test_the_age_is_that_of_the_longest_wait() -> None:
    queue = Queue()
    assert queue.fair.age() == 0
    tasks = [queue.start("a"), queue.start("b")]
    await turns()
    await asyncio.sleep(0.02)
    assert queue.fair.age() >= 0.02
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)
    assert queue.fair.age() == 0


async def test_a_slot_can_be_given_back_early_and_only_once() -> None:
    queue = Queue()
    async with slot(queue.fair, "first") as first:
        waiting = queue.start("second")
        await turns()
        assert queue.given == []
        queue.fair.release(first)
        await turns()
        assert queue.given == ["second"]
    assert queue.fair.taken == 1
    queue.next.release()
    await waiting
    assert queue.fair.taken == 0


async def test_an_image_at_hand_that_has_not_begun_is_overtaken_by_one_whose_turn_is_before_its_own() -> None:
    queue = Queue(slots=2)
    bulk = [queue.start("bulk", f"bulk {number}") for number in range(4)]
    await turns()
    queue.next.release()
    await turns()
    assert queue.given == ["bulk 0", "bulk 1", "bulk 2"]
    queue.ready.put(job("bulk 2", Priority(1, 1, 3)))  # the thread is at bulk 1
    overtaking = queue.start("single")
    await turns()
    assert queue.given[3:] == ["single"]
    assert queue.fair.taken == 3
    later = queue.start("later")
    await turns()
    assert queue.given[4:] == ["later"]  # it, too, goes before the second image of the same client
    queue.ready.take()
    waits = queue.start("latest")
    await turns()
    assert len(queue.given) == 5
    for _ in range(10):
        queue.next.release()
    await asyncio.gather(*bulk, overtaking, later, waits)
    assert queue.given[5:] == ["latest", "bulk 3"]
    assert queue.fair.taken == 0


class Machine:
    """A queue whose images are ready until one thread begins them, and the order in which that was."""

    def __init__(self) -> None:
        self.fair = FairQueue(costs_with(slots=2))
        self._images: dict[Job, tuple[str, int]] = {}
        self.begun: list[tuple[str, int]] = []
        self._came: Counter[str] = Counter()
        self._ended: dict[tuple[str, int], asyncio.Event] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, client: str) -> None:
        image = client, self._came[client]
        self._came[client] += 1
        self._ended[image] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._visit(image)))

    async def _visit(self, image: tuple[str, int]) -> None:
        async with slot(self.fair, image[0]) as ready:
            self._images[ready] = image
            self.fair.ready.put(ready)
            await self._ended[image].wait()

    async def step(self) -> None:
        """The thread ends its image and takes the next before the event loop knows."""
        taken = self.fair.ready.take()
        if self.begun:
            self._ended[self.begun[-1]].set()
        if taken is not None:
            self.begun.append(self._images[taken])
        await turns()


@pytest.mark.parametrize("seed", range(20))
async def test_with_images_at_hand_each_client_keeps_its_order_and_none_is_passed_over_for_long(
    seed: int,
) -> None:
    chance, machine = random.Random(seed), Machine()
    clients = {"bulk": 9, "other bulk": 5, "single": 1, "rare": 1}  # how many each has under way at most
    sent: Counter[str] = Counter()
    most = 0
    for _ in range(400):
        for client, limit in clients.items():
            under_way = sent[client] - sum(name == client for name, _ in machine.begun)
            if under_way < limit and chance.random() < (0.05 if client == "rare" else 0.7):
                machine.start(client)
                sent[client] += 1
        await turns()
        most = max(most, machine.fair.taken)
        await machine.step()
    for client in clients:
        numbers = [number for name, number in machine.begun if name == client]
        assert numbers == list(range(len(numbers)))
    assert most <= 2 + len(clients)
    for client in ("bulk", "other bulk", "single"):  # always there, so it has its turn among every few
        places = [place for place, (name, _) in enumerate(machine.begun) if name == client]
        assert max(after - before for before, after in pairwise(places)) <= 2 * len(clients)
    for task in machine.tasks:
        task.cancel()
    await asyncio.gather(*machine.tasks, return_exceptions=True)
    assert (machine.fair.taken, machine.fair.waiting, len(machine.fair._clients)) == (0, 0, 0)
