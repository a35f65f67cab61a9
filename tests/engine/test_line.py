import asyncio
from contextlib import AsyncExitStack

import pytest

from app.engine.hand import Hand, Turn
from app.engine.line import Line
from tests.engine.batching import turns

pytestmark = pytest.mark.anyio


class Queue:
    """A line with one slot, which is taken until it is passed on, and the order in which slots were given."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.hand: Hand[str] = Hand()
        self.line = Line(lambda: self.slots, self.hand)
        self.given: list[str] = []
        self.next = asyncio.Semaphore(0)

    def start(self, client: str, name: str | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self._visit(client, name or client))

    async def _visit(self, client: str, name: str) -> None:
        async with self.line.slot(client):
            self.given.append(name)
            await self.next.acquire()


async def test_clients_take_turns() -> None:
    queue = Queue()
    tasks = [queue.start("bulk", f"bulk {number}") for number in range(4)]
    await turns()
    tasks += [queue.start("one", f"one {number}") for number in range(2)]
    tasks += [queue.start("two")]
    await turns()
    assert (queue.line.waiting, queue.line.taken) == (6, 1)
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)
    assert queue.given == ["bulk 0", "one 0", "two", "bulk 1", "one 1", "bulk 2", "bulk 3"]
    assert (queue.line.waiting, queue.line.taken) == (0, 0)


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
    queue.slots = 3
    queue.next.release()
    await turns()
    assert len(queue.given) == 4
    queue.slots = 1
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
    assert queue.line.waiting == 50
    assert queue.line.ahead_of("client") == 50
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.given == ["0", *map(str, range(150, 200))]


async def test_a_slot_given_to_one_who_leaves_in_the_same_turn_is_passed_on() -> None:
    queue = Queue()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(queue.line.slot("first"))
        leaver, last = queue.start("leaver"), queue.start("last")
        await turns()
    leaver.cancel()  # it has its slot, but does not know yet
    await turns()
    assert queue.given == ["last"]
    queue.next.release()
    await last
    assert queue.line.taken == 0


async def test_coming_and_leaving_without_end_takes_no_memory() -> None:
    queue = Queue()
    holder = queue.start("holder")
    for number in range(1000):
        task = queue.start(str(number))
        await turns(2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(queue.line._heap) < 10
    assert not queue.line._clients
    queue.next.release()
    await holder


async def test_a_new_client_has_one_image_of_each_other_ahead_of_it_and_a_waiting_one_its_own_too() -> None:
    queue = Queue()
    tasks = [queue.start(client) for client in ("holder", *["bulk"] * 9, "one", "one")]
    await turns()
    assert queue.line.ahead_of("new") == 2
    assert queue.line.ahead_of("one") == 2 + 3
    assert queue.line.ahead_of("bulk") == 9 + 2
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)


async def test_the_age_is_that_of_the_longest_wait() -> None:
    queue = Queue()
    assert queue.line.age() == 0
    tasks = [queue.start("a"), queue.start("b")]
    await turns()
    await asyncio.sleep(0.02)
    assert queue.line.age() >= 0.02
    for _ in tasks:
        queue.next.release()
    await asyncio.gather(*tasks)
    assert queue.line.age() == 0


async def test_a_slot_can_be_given_back_early_and_only_once() -> None:
    queue = Queue()
    async with queue.line.slot("first") as slot:
        waiting = queue.start("second")
        await turns()
        assert queue.given == []
        slot.give_back()
        await turns()
        assert queue.given == ["second"]
    assert queue.line.taken == 1
    queue.next.release()
    await waiting
    assert queue.line.taken == 0


async def test_an_image_at_hand_that_has_not_begun_is_overtaken_by_one_whose_turn_is_before_its_own() -> None:
    queue = Queue(slots=2)
    bulk = [queue.start("bulk", f"bulk {number}") for number in range(4)]
    await turns()
    queue.next.release()
    await turns()
    assert queue.given == ["bulk 0", "bulk 1", "bulk 2"]
    queue.hand.put(Turn(1, 1, 3), "bulk 2")  # the thread is at bulk 1
    overtaking = queue.start("single")
    await turns()
    assert queue.given[3:] == ["single"]
    assert queue.line.taken == 3
    later = queue.start("later")
    await turns()
    assert queue.given[4:] == ["later"]  # it, too, goes before the second image of the same client
    queue.hand.take()
    waits = queue.start("latest")
    await turns()
    assert len(queue.given) == 5
    for _ in range(10):
        queue.next.release()
    await asyncio.gather(*bulk, overtaking, later, waits)
    assert queue.given[5:] == ["latest", "bulk 3"]
    assert queue.line.taken == 0
