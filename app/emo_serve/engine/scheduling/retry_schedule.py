"""When refused requests are told to come back: each to a moment that has room, so that its second try succeeds.

Told the same moment, all of them would come at once and most would be refused again. So moments are booked, as many a
second as the model can answer, and whoever comes back to its own goes ahead of those who come for the first time.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import compress, count, repeat
from operator import and_, lt
from typing import Literal

_WINDOWS = 16  # a second: those who are told the same window come, for all we know, at once
_SPELLS = 4  # a second: in each the model can answer those who are told it
_GRACE = 2.0  # seconds after its moment that a request is still waited for; Retry-After was rounded up
_LEAST_SECONDS, _MOST_SECONDS = 0.001, 120
_BOOKED = 0.7  # share of the model's time that is booked; first tries get the rest
_NEWEST = 0.02  # weight of the newest in the share of those that do come back
_LEAST_SHARE = 0.1

Event = Literal["booked", "redeemed"]
"""What becomes of a moment."""


class Returns:
    """The booked moments of one model, in seconds of one clock."""

    def __init__(self) -> None:
        self.tell: Callable[[str, float, Event], None] = lambda *_: None
        """Called with what ``learn`` needs to know in another worker."""
        self._windows: defaultdict[int, list[str]] = defaultdict(list)  # number of a window -> who was told it
        self._elsewhere: defaultdict[int, list[str]] = defaultdict(list)  # the same, but told by other workers
        self._spells: Counter[int] = Counter()  # number of a spell -> how many were told a moment in it
        self._due: dict[str, list[float]] = {}  # request -> heap of its moments, those from elsewhere too
        self._oldest = 0  # no window before this one is kept
        self._share = 1.0  # of those that were told a moment so many come back

    def book(self, request: str, now: float, earliest: float, interval: float, most: int) -> float:
        """Seconds from ``now``, at least ``earliest``, after which ``request`` should come back.

        A moment is so many whole seconds away, as Retry-After tells it, that there is room: its spell has a place for
        every ``interval``, its window has ``most``. Only its part below a second is told exactly.
        """
        self._forget(now)
        step = interval * self._share / _BOOKED
        span = max(1, math.ceil(step * _SPELLS))  # of a slow model there is not a place in every spell
        places = int(span / _SPELLS / step) if step else math.inf
        earliest = max(earliest, _LEAST_SECONDS)
        first = math.ceil(earliest)
        window, spell = _window(now + first), _spell(now + first)
        # Under overload each refusal goes through all seconds that are booked, which would take a tenth of its time in
        # Python's own loops: so these are iterators, one item for each second from the first on.
        together = map(len, map(self._windows.get, count(window, _WINDOWS), repeat(())))
        spells = count(spell, _SPELLS)
        told = map(self._spells.get, spells, repeat(0)) if span == 1 else map(self._told, spells, repeat(span))
        rooms = map(and_, map(lt, together, repeat(most)), map(lt, told, repeat(places)))
        seconds = next(compress(range(first, _MOST_SECONDS), rooms), max(first, _MOST_SECONDS))
        exact = earliest + (seconds - first)
        self._windows[window + (seconds - first) * _WINDOWS].append(request)
        self._spells[spell + (seconds - first) * _SPELLS] += 1
        heapq.heappush(self._due.setdefault(request, []), now + exact)
        self.tell(request, now + exact, "booked")
        return exact

    def redeem(self, request: str, now: float) -> bool:
        """Whether ``request`` was told to be here by now; each moment counts once."""
        self._forget(now)
        due = self._due.get(request)
        if not due or due[0] > now:
            return False
        self.tell(request, heapq.heappop(due), "redeemed")
        if not due:
            del self._due[request]
        self._share += _NEWEST * (1 - self._share)
        return True

    def learn(self, request: str, now: float, moment: float, event: Event) -> None:
        """Note what another worker has told about a moment of this request."""
        self._forget(now)
        if event == "booked":
            heapq.heappush(self._due.setdefault(request, []), moment)
            self._elsewhere[_window(moment) + _WINDOWS].append(request)  # Retry-After was rounded up
        elif moment in (due := self._due.get(request, [])):
            due.remove(moment)
            heapq.heapify(due)
            if not due:
                del self._due[request]

    def expected(self, now: float, seconds: float) -> float:
        """How many requests will probably come back within the next ``seconds``."""
        if not self._windows:
            return 0.0
        self._forget(now)
        windows = range(_window(now), _window(now + min(seconds, _MOST_SECONDS)) + 1)
        return self._share * sum(map(len, map(self._windows.get, windows, repeat(()))))

    def _told(self, spell: int, span: int) -> int:
        """How many were told a moment in this spell or in the ``span`` - 1 before it."""
        return sum(self._spells.get(number, 0) for number in range(spell - span + 1, spell + 1))

    def _forget(self, now: float) -> None:
        """Forget the windows that have passed, and who did not come."""
        present = _window(now - _GRACE)
        if present > self._oldest:
            self._oldest = present
            for number in list(filter(present.__gt__, self._windows)):
                for request in self._windows.pop(number):
                    missing = self._give_up(request, now - _GRACE)
                    self._share = max(_LEAST_SHARE, self._share * (1 - _NEWEST) ** missing)
            for number in list(filter(present.__gt__, self._elsewhere)):
                for request in self._elsewhere.pop(number):
                    self._give_up(request, now - _GRACE)
            for spell in list(filter(_spell(now - _GRACE).__gt__, self._spells)):
                del self._spells[spell]

    def _give_up(self, request: str, moment: float) -> int:
        """Forget its moments before this one; how many there were."""
        due = self._due.get(request, [])
        count = len(due)
        while due and due[0] < moment:
            heapq.heappop(due)
        if not due:
            self._due.pop(request, None)
        return count - len(due)


def _window(moment: float) -> int:
    return int(moment * _WINDOWS)


def _spell(moment: float) -> int:
    return int(moment * _SPELLS)
