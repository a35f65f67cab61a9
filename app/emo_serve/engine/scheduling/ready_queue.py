"""What lies at hand: images that have their turn, for the threads to take without asking the event loop.

A thread that had to wait for the event loop between two images would find its caches cold.
"""

import heapq
import time
from typing import Generic, NamedTuple, TypeVar

J = TypeVar("J")


class Turn(NamedTuple):
    """When an image has its turn, in the order of these values."""

    round: int
    own_before: int
    """Images of the same client that were not answered when it came: who waits for nothing else goes first."""
    number: int


FIRST = Turn(0, 0, 0)


class Hand(Generic[J]):
    """Work in the order of turns, put in by the event loop and taken by any thread.

    Turns are compared in C and differ, so that each method is one step for the interpreter, which other threads cannot
    interrupt.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Turn, float, J]] = []
        self.begun = 0
        """The round of what was taken last."""

    def put(self, turn: Turn, work: J) -> None:
        """Put work in."""
        heapq.heappush(self._heap, (turn, time.monotonic(), work))

    def take(self) -> J | None:
        """Take the first; None where there is none."""
        try:
            turn, _, work = heapq.heappop(self._heap)
        except IndexError:
            return None
        self.begun = turn.round
        return work

    @property
    def last(self) -> Turn | None:
        """The turn of what is taken last."""
        try:
            return max(self._heap)[0]
        except ValueError:
            return None

    def age(self) -> float:
        """Seconds that the work which has lain longest has lain; 0 where there is none."""
        oldest = min((since for _, since, _ in self._heap[:]), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def __len__(self) -> int:
        return len(self._heap)
