"""Fair queue of a model: encoded images wait for an execution slot, round-robin over their clients.

There are as many slots as keep the machine busy; an image with a slot is decoded and computed. Waiting images are in
rounds, and a client has one image in each. So a client with many images reaches far into later rounds and delays
nobody by more than one of them.
"""

import asyncio
import heapq
import time
from dataclasses import dataclass

from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.job import Job, Priority


class ReadyQueue:
    """Images that have a slot, for threads to take in the order of priority without asking the event loop.

    A thread that had to wait for the event loop between two images would find its caches cold. Priorities are compared
    in C and differ, so that each method is one step for the interpreter, which other threads cannot interrupt.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Priority, Job]] = []
        self.begun = 0
        """Round of the image that was taken last."""

    def put(self, job: Job) -> None:
        """Add an image; on the event loop."""
        heapq.heappush(self._heap, (job.priority, job))

    def take(self) -> Job | None:
        """Remove and return the first image; None if there is none. In any thread."""
        try:
            priority, job = heapq.heappop(self._heap)
        except IndexError:
            return None
        self.begun = priority.round
        return job

    @property
    def last(self) -> Priority | None:
        """The lowest priority in the queue; None if it is empty."""
        try:
            return max(self._heap)[0]
        except ValueError:
            return None

    def age(self) -> float:
        """Seconds that the image which got its slot first has waited in here; 0 where there is none."""
        oldest = min((job.started_at for _, job in self._heap[:]), default=None)
        return 0.0 if oldest is None else time.perf_counter() - oldest

    def __len__(self) -> int:
        return len(self._heap)


@dataclass(slots=True)
class _Client:
    """A client's images that wait or have a slot, and the earliest round of its next one."""

    waiting: int = 0
    held: int = 0
    next_round: int = 0


class FairQueue:
    """Gives slots to clients round-robin; used from one event loop."""

    def __init__(self, costs: CostModel) -> None:
        """Give out as many slots at a time as the cost model says at that time."""
        self.ready = ReadyQueue()
        """Images with a slot that have not begun; an image of higher priority than one of these gets a slot too."""
        self.costs = costs
        self.taken = 0
        """Number of slots that are taken now."""
        self._clients_waiting = 0
        self._round = 0
        self._count = 0
        self._clients: dict[str, _Client] = {}
        self._waiting: dict[Priority, tuple[Job, asyncio.Future[None]]] = {}  # and what tells of the slot
        self._heap: list[Priority] = []  # of those, and of some that left: at most as many
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """Number of images that wait for a slot."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """True if a new image would get a slot at once."""
        return not self._waiting and self.taken < self.costs.slots

    @property
    def is_shared(self) -> bool:
        """True if another image would use the slot that one gives up."""
        return self.taken > 1 or bool(self._waiting)

    def ahead_of(self, client: str) -> int:
        """Largest number of waiting images that go before a new one of ``client``."""
        own = self._clients[client].waiting if client in self._clients else 0
        if not own:
            return self._clients_waiting
        return own + sum(min(other.waiting, own + 1) for name, other in self._clients.items() if name != client)

    def age(self) -> float:
        """Seconds that the image which has waited longest for its slot has waited; 0 where none waits."""
        oldest = min((job.accepted_at for job, _ in self._waiting.values()), default=None)
        return 0.0 if oldest is None else time.perf_counter() - oldest

    async def acquire(self, job: Job) -> None:
        """Wait for a slot for ``job`` and take it; cancelled before that, the image has cost nothing."""
        client = job.ticket.client
        own = self._clients.get(client)
        if own is None:
            own = self._clients[client] = _Client()
        has_room = self.has_room
        earliest = self._present_round if has_room else self._present_round + 1
        self._count += 1
        priority = job.priority = Priority(max(earliest, own.next_round), own.waiting + own.held, self._count)
        own.next_round = priority.round + 1
        if has_room or ((last := self.ready.last) is not None and priority < last):
            self._grant(job, own)
        else:
            await self._wait(job, own)

    def finish(self, job: Job) -> None:
        """Note that ``job`` has used its slot: the cost model learns how long, and the next one begins.

        Called by an executor as soon as the cores are free, before the answer is given.
        """
        self.costs.answered(time.perf_counter() - job.started_at, self.taken)
        self.release(job)

    def release(self, job: Job) -> None:
        """Give the slot of ``job`` to the next."""
        job.has_slot = False
        self.taken -= 1
        client = job.ticket.client
        own = self._clients[client]
        own.held -= 1
        self._forget(client, own)
        self._give_out()

    @property
    def _present_round(self) -> int:
        """The round in which images begin now."""
        return self.ready.begun if self.ready else self._round

    def _grant(self, job: Job, own: _Client) -> None:
        job.has_slot = True
        job.started_at = time.perf_counter()
        self.taken += 1
        own.held += 1
        self._round = max(self._round, job.priority.round)

    def _forget(self, client: str, own: _Client) -> None:
        if not own.waiting and not own.held:
            del self._clients[client]

    async def _wait(self, job: Job, own: _Client) -> None:
        granted = self._loop.create_future()
        self._waiting[job.priority] = job, granted
        heapq.heappush(self._heap, job.priority)
        self._clients_waiting += not own.waiting
        own.waiting += 1
        self._give_out()  # the number of slots may have grown
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                del self._waiting[job.priority]
                self._ends_waiting(own)
                self._forget(job.ticket.client, own)
                if len(self._heap) > 2 * len(self._waiting):
                    self._heap = sorted(self._waiting)
            else:  # it got its slot in this very iteration of the event loop
                self.release(job)
            raise

    def _ends_waiting(self, own: _Client) -> None:
        own.waiting -= 1
        self._clients_waiting -= not own.waiting

    def _give_out(self) -> None:
        while self._heap and self.taken < self.costs.slots:
            first = self._waiting.get(heapq.heappop(self._heap))
            if first is None or first[1].done():  # its client left
                continue
            job, granted = first
            del self._waiting[job.priority]
            own = self._clients[job.ticket.client]
            self._ends_waiting(own)
            self._grant(job, own)
            granted.set_result(None)
