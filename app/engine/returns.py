"""When refused requests are told to come back: each to a moment that has room, so that its second try succeeds.

Told the same moment, all of them would come at once and most would be refused again. So moments are booked, as many a
second as the model can answer, and whoever comes back to its own goes ahead of those who come for the first time.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Hashable

_WIDTH = 0.25  # seconds: moments are booked in windows of this length
_GRACE = 2.0  # seconds after its moment that a request is still waited for; Retry-After was rounded up
_MOST_SECONDS = 120
_BOOKED = 0.8  # share of the model's time that is booked; first tries get the rest
_NEWEST = 0.02  # weight of the newest in the share of those that do come back
_LEAST_SHARE = 0.1


class Returns:
    """The booked moments of one model, in seconds of one clock."""

    def __init__(self) -> None:
        self._windows: defaultdict[int, list[Hashable]] = defaultdict(list)  # number of a window -> who was told it
        self._due: dict[Hashable, list[float]] = {}  # request -> heap of its moments
        self._oldest = 0  # no window before this one is kept
        self._share = 1.0  # of those that were told a moment so many come back

    def book(self, request: Hashable, now: float, earliest: float, interval: float, most: int) -> float:
        """Seconds from ``now``, at least ``earliest``, after which ``request`` should come back.

        A moment is so many whole seconds away, as Retry-After tells it, that its window has room: for one image every
        ``interval`` seconds and for no more than ``most``. Only its part below a second is told exactly.
        """
        self._forget(now)
        step = interval * self._share / _BOOKED
        places = max(1, min(most, int(_WIDTH / step))) if step else most
        span = max(1, math.ceil(step / _WIDTH))
        first = max(1, math.ceil(earliest))
        seconds = next((s for s in range(first, _MOST_SECONDS) if self._told(now + s, span) < places), _MOST_SECONDS)
        exact = earliest + max(0, seconds - first)
        self._windows[_window(now + seconds)].append(request)
        heapq.heappush(self._due.setdefault(request, []), now + exact)
        return exact

    def redeem(self, request: Hashable, now: float) -> bool:
        """Whether ``request`` was told to be here by now; each moment counts once."""
        self._forget(now)
        due = self._due.get(request)
        if not due or due[0] > now:
            return False
        heapq.heappop(due)
        if not due:
            del self._due[request]
        self._share += _NEWEST * (1 - self._share)
        return True

    def expected(self, now: float, seconds: float) -> float:
        """How many requests will probably come back within the next ``seconds``."""
        if not self._windows:
            return 0.0
        self._forget(now)
        windows = range(_window(now), _window(now + min(seconds, _MOST_SECONDS)) + 1)
        return self._share * sum(len(self._windows[number]) for number in windows if number in self._windows)

    def _told(self, moment: float, span: int) -> int:
        """How many were told the window of ``moment`` or one of those just before it."""
        last = _window(moment)
        return sum(len(self._windows[number]) for number in range(last - span + 1, last + 1) if number in self._windows)

    def _forget(self, now: float) -> None:
        """Forget the windows that have passed, and who did not come."""
        present = _window(now - _GRACE)
        if present > self._oldest:
            self._oldest = present
            for number in [number for number in self._windows if number < present]:
                for request in self._windows.pop(number):
                    self._give_up(request, now - _GRACE)

    def _give_up(self, request: Hashable, moment: float) -> None:
        due = self._due.get(request, [])
        while due and due[0] < moment:
            heapq.heappop(due)
            self._share = max(_LEAST_SHARE, self._share * (1 - _NEWEST))
        if not due:
            self._due.pop(request, None)


def _window(moment: float) -> int:
    return int(moment / _WIDTH)
