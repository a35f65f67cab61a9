"""Shares retry reservations among the workers of one server.

A refused request may come back on another connection, which may be another worker's. If that one did not know of the
reservation, the promise of its ``Retry-After`` would hold for one worker's share of the connections only.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from weakref import WeakValueDictionary

from emo_serve.engine.scheduling.retry_schedule import Event, RetrySchedule

_SEND_SECONDS = 0.1  # what happens in this time is sent at once; who obeys Retry-After is away for a second at least

Updates = list[tuple[str, str, float, Event]]
"""Model and version, request, its moment by the system's monotonic clock, and the event."""

Broadcast = Callable[[Updates], None]
"""Sends them to all other workers."""


class RetrySync:
    """The retry schedules of all models that this worker serves; used on its event loop."""

    def __init__(self, broadcast: Broadcast) -> None:
        """No model is registered yet."""
        self._broadcast = broadcast
        self._schedules: WeakValueDictionary[str, RetrySchedule] = WeakValueDictionary()  # none outlives its model here
        self._updates: Updates = []

    def register(self, model: str, schedule: RetrySchedule) -> None:
        """Publish what happens in this schedule, and let others' updates of ``model`` reach it."""
        self._schedules[model] = schedule
        schedule.publish = partial(self._collect, model)

    def receive(self, updates: Updates) -> None:
        """Apply what another worker has sent."""
        now = asyncio.get_running_loop().time()
        for model, request, moment, event in updates:
            schedule = self._schedules.get(model)
            if schedule is not None:
                schedule.apply(request, now, moment, event)

    def _collect(self, model: str, request: str, moment: float, event: Event) -> None:
        if not self._updates:
            asyncio.get_running_loop().call_later(_SEND_SECONDS, self._send)
        self._updates.append((model, request, moment, event))

    def _send(self) -> None:
        updates, self._updates = self._updates, []
        self._broadcast(updates)
