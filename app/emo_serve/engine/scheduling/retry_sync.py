"""What the workers of one server tell each other of booked moments.

A request that was refused may come back on another connection, which may be another worker's. That one has to know
that it was told to come, or the promise of its ``Retry-After`` would hold for one worker's share of the connections.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from weakref import WeakValueDictionary

from emo_serve.engine.scheduling.retry_schedule import Event, Returns

_TOGETHER_SECONDS = 0.1  # news of this time are told at once; whoever obeys Retry-After is away for a second at least

News = list[tuple[str, str, float, Event]]
"""Model and version, request, its moment by the system's monotonic clock, what has become of that."""

Share = Callable[[News], None]
"""Tells it to all other workers."""


class Bookings:
    """Of all models that this worker serves; used on its event loop."""

    def __init__(self, share: Share) -> None:
        """Know no model yet."""
        self._share = share
        self._returns: WeakValueDictionary[str, Returns] = WeakValueDictionary()  # none outlives its model for this
        self._news: News = []

    def join(self, model: str, returns: Returns) -> None:
        """Tell what happens to these, and let them know what others tell about ``model``."""
        self._returns[model] = returns
        returns.tell = partial(self._tell, model)

    def learn(self, news: News) -> None:
        """Note what another worker tells."""
        now = asyncio.get_running_loop().time()
        for model, request, moment, event in news:
            returns = self._returns.get(model)
            if returns is not None:
                returns.learn(request, now, moment, event)

    def _tell(self, model: str, request: str, moment: float, event: Event) -> None:
        if not self._news:
            asyncio.get_running_loop().call_later(_TOGETHER_SECONDS, self._send)
        self._news.append((model, request, moment, event))

    def _send(self) -> None:
        news, self._news = self._news, []
        self._share(news)
