"""The waiting line of a model: images wait as the bytes they came in, and clients take turns.

So many slots are given out at a time as keep the machine busy; who has one is decoded and computed. Whoever waits is in
a round: a client has one image in each, so a client with many images reaches far into later rounds and delays nobody by
more than one of them.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from emo_serve.engine.scheduling.ready_queue import FIRST, Hand, Turn


@dataclass(slots=True, order=True)
class _Waiting:
    """An image in the line, in the order of turns."""

    place: Turn
    client: str = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)
    since: float = field(compare=False)  # time.monotonic()


@dataclass(slots=True)
class _Client:
    """A client with images that wait or have a slot; in which round its next one has its turn at the earliest."""

    waiting: int = 0
    held: int = 0
    next_round: int = 0


class Line:
    """Gives slots to clients in turn; used from one event loop."""

    def __init__(self, slots: Callable[[], int], hand: Hand[Any]) -> None:
        """Give out as many slots at a time as ``slots()`` says, at least 1, asked anew for each.

        Who has a slot and lies in the ``hand`` has not begun: an image whose turn is before that one's gets a slot too.
        """
        self._slots = slots
        self._hand = hand
        self._taken = 0
        self._waiting = 0
        self._clients_waiting = 0
        self._round = 0
        self._came = 0
        self._clients: dict[str, _Client] = {}
        self._heap: list[_Waiting] = []  # those that left stay in it until their turn, or until they are half of it
        self._left = 0

    @property
    def taken(self) -> int:
        """How many slots are taken now."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many images wait for a slot."""
        return self._waiting

    @property
    def has_room(self) -> bool:
        """Whether a new image would get a slot at once."""
        return not self._waiting and self._taken < self._slots()

    @property
    def is_shared(self) -> bool:
        """Whether somebody else would use the slot that one image gives up."""
        return self._taken > 1 or self._waiting > 0

    def ahead_of(self, client: str) -> int:
        """How many waiting images have their turn before a new one of ``client``, at most."""
        own = self._clients[client].waiting if client in self._clients else 0
        if not own:
            return self._clients_waiting
        return own + sum(min(other.waiting, own + 1) for name, other in self._clients.items() if name != client)

    def age(self) -> float:
        """Seconds that the image which has waited longest has waited; 0 where none waits."""
        oldest = min((image.since for image in self._heap if not image.turn.done()), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def slot(self, client: str) -> "Slot":
        """A slot to wait for."""
        return Slot(self, client)

    async def take(self, client: str) -> Turn:
        """Take a slot when the turn has come; cancelled before that, the image has cost nothing."""
        own = self._clients.setdefault(client, _Client())
        has_room = self.has_room
        earliest = self._present_round if has_room else self._present_round + 1
        self._came += 1
        place = Turn(max(earliest, own.next_round), own.waiting + own.held, self._came)
        own.next_round = place.round + 1
        last = self._hand.last
        if has_room or (last is not None and place < last):
            self._hold(client, place)
        else:
            await self._wait(client, place)
        return place

    def _hold(self, client: str, place: Turn) -> None:
        self._taken += 1
        self._clients[client].held += 1
        self._round = max(self._round, place.round)

    def give_back(self, client: str) -> None:
        """Give a slot that ``client`` took to the next."""
        self._taken -= 1
        own = self._clients[client]
        own.held -= 1
        self._forget(client, own)
        self._give_out()

    @property
    def _present_round(self) -> int:
        """The round in which images begin now."""
        return self._hand.begun if self._hand else self._round

    def _forget(self, client: str, own: _Client) -> None:
        if not own.waiting and not own.held:
            del self._clients[client]

    async def _wait(self, client: str, place: Turn) -> None:
        own = self._clients[client]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, _Waiting(place, client, turn, time.monotonic()))
        self._clients_waiting += not own.waiting
        own.waiting += 1
        self._waiting += 1
        self._give_out()  # the number of slots may have grown
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(client)
                self._forget_those_who_left()
            else:  # it had got its slot in this very turn of the event loop
                self.give_back(client)
            raise

    def _leave(self, client: str) -> None:
        self._waiting -= 1
        own = self._clients[client]
        own.waiting -= 1
        self._clients_waiting -= not own.waiting
        self._forget(client, own)

    def _forget_those_who_left(self) -> None:
        self._left += 1
        if self._left > len(self._heap) // 2:
            self._heap = [image for image in self._heap if not image.turn.done()]
            heapq.heapify(self._heap)
            self._left = 0

    def _give_out(self) -> None:
        while self._heap and self._taken < self._slots():
            image = heapq.heappop(self._heap)
            if image.turn.done():  # its client left
                self._left = max(0, self._left - 1)
                continue
            self._hold(image.client, image.place)
            self._leave(image.client)
            image.turn.set_result(None)


class Slot:
    """A slot that is held for the time of a block, or until it is given back before."""

    __slots__ = ("_client", "_is_held", "_line", "turn")

    def __init__(self, line: Line, client: str) -> None:
        self._line = line
        self._client = client
        self._is_held = False
        self.turn = FIRST
        """When it was given."""

    async def __aenter__(self) -> Self:
        self.turn = await self._line.take(self._client)
        self._is_held = True
        return self

    async def __aexit__(self, *ended: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Give it to the next, once."""
        if self._is_held:
            self._is_held = False
            self._line.give_back(self._client)
