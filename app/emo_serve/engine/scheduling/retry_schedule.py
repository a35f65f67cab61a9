"""When refused requests should come back: each at a moment that has room, so that its second try succeeds.

If all were given the same moment, they would come at once and most would be refused again. So moments are reserved, as
many a second as the model can answer, and a request that comes at its own goes ahead of those that come for the first
time.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import compress, count, repeat
from operator import and_, lt
from typing import Literal

_WINDOWS = 16  # a second: requests with moments in the same window may come at once
_PERIODS = 4  # a second: no more moments are reserved in one than the model can answer in it
_GRACE = 2.0  # seconds after its moment that a request is still waited for; Retry-After was rounded up
_LEAST_SECONDS, _MOST_SECONDS = 0.001, 120
_RESERVED_SHARE = 0.7  # of the model's time; first tries get the rest
_NEWEST = 0.02  # weight of the newest in the share of those that do come back
_LEAST_SHARE = 0.1

Event = Literal["reserved", "claimed"]
"""A change of a reservation."""


class RetrySchedule:
    """The reserved moments of one model, in seconds of one clock."""

    def __init__(self) -> None:
        self.publish: Callable[[str, float, Event], None] = lambda *_: None
        """Called with the request, the moment and the event, for ``apply`` in the other workers."""
        self._windows: defaultdict[int, list[str]] = defaultdict(list)  # number of a window -> requests
        self._elsewhere: defaultdict[int, list[str]] = defaultdict(list)  # the same, reserved by other workers
        self._periods: Counter[int] = Counter()  # number of a period -> reserved moments in it
        self._due: dict[str, list[float]] = {}  # request -> heap of its moments, those from elsewhere too
        self._oldest = 0  # no window before this one is kept
        self._share = 1.0  # of refused requests that do come back

    def reserve(self, request: str, now: float, earliest: float, interval: float, most: int) -> float:
        """Seconds from ``now``, at least ``earliest``, after which ``request`` should come back.

        ``interval``: seconds between two answers. The moment is as many whole seconds later as Retry-After can say,
        so that there is room: at most ``most`` moments in its window, and one for each ``interval`` in its period.
        """
        self._forget(now)
        step = interval * self._share / _RESERVED_SHARE
        span = max(1, math.ceil(step * _PERIODS))  # of a slow model there is not a place in every period
        places = int(span / _PERIODS / step) if step else math.inf
        earliest = max(earliest, _LEAST_SECONDS)
        first = math.ceil(earliest)
        window, period = _window(now + first), _period(now + first)
        # Under overload each refusal goes through all reserved seconds, which would take a tenth of its time in
        # Python's own loops: so these are iterators, one item for each second from the first on.
        together = map(len, map(self._windows.get, count(window, _WINDOWS), repeat(())))
        periods = count(period, _PERIODS)
        reserved = (
            map(self._periods.get, periods, repeat(0)) if span == 1 else map(self._reserved_in, periods, repeat(span))
        )
        rooms = map(and_, map(lt, together, repeat(most)), map(lt, reserved, repeat(places)))
        seconds = next(compress(range(first, _MOST_SECONDS), rooms), max(first, _MOST_SECONDS))
        exact = earliest + (seconds - first)
        self._windows[window + (seconds - first) * _WINDOWS].append(request)
        self._periods[period + (seconds - first) * _PERIODS] += 1
        heapq.heappush(self._due.setdefault(request, []), now + exact)
        self.publish(request, now + exact, "reserved")
        return exact

    def claim(self, request: str, now: float) -> bool:
        """True if ``request`` has a moment that has come; each moment counts once."""
        self._forget(now)
        due = self._due.get(request)
        if not due or due[0] > now:
            return False
        self.publish(request, heapq.heappop(due), "claimed")
        if not due:
            del self._due[request]
        self._share += _NEWEST * (1 - self._share)
        return True

    def apply(self, request: str, now: float, moment: float, event: Event) -> None:
        """Apply what another worker has published about a moment of this request."""
        self._forget(now)
        if event == "reserved":
            heapq.heappush(self._due.setdefault(request, []), moment)
            self._elsewhere[_window(moment) + _WINDOWS].append(request)  # Retry-After was rounded up
        elif moment in (due := self._due.get(request, [])):
            due.remove(moment)
            heapq.heapify(due)
            if not due:
                del self._due[request]

    def expected(self, now: float, seconds: float) -> float:
        """Expected number of requests that come back within the next ``seconds``."""
        if not self._windows:
            return 0.0
        self._forget(now)
        windows = range(_window(now), _window(now + min(seconds, _MOST_SECONDS)) + 1)
        return self._share * sum(map(len, map(self._windows.get, windows, repeat(()))))

    def _reserved_in(self, period: int, span: int) -> int:
        """Reserved moments in this period and the ``span`` - 1 before it."""
        return sum(self._periods.get(number, 0) for number in range(period - span + 1, period + 1))

    def _forget(self, now: float) -> None:
        """Forget the windows that have passed, and the requests that did not come."""
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
            for period in list(filter(_period(now - _GRACE).__gt__, self._periods)):
                del self._periods[period]

    def _give_up(self, request: str, moment: float) -> int:
        """Forget its moments before this one; returns how many there were."""
        due = self._due.get(request, [])
        count = len(due)
        while due and due[0] < moment:
            heapq.heappop(due)
        if not due:
            self._due.pop(request, None)
        return count - len(due)


def _window(moment: float) -> int:
    return int(moment * _WINDOWS)


def _period(moment: float) -> int:
    return int(moment * _PERIODS)
