"""Memory budget for the request bodies of all requests together; an ``Exchange`` limits the body of one request."""

from emo_serve.errors import QueueFull

_RETRY_AFTER_SECONDS = 1.0


class BodyBudget:
    """Limit on the bytes of all bodies that are being read or answered; used from one event loop."""

    def __init__(self, limit: int, whole: "BodyBudget | None" = None) -> None:
        """Allow ``limit`` bytes; as a part of the ``whole``, they count there, too."""
        self._limit = limit
        self._whole = whole
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are reserved now."""
        return self._held

    def take(self, more: int) -> None:
        """Reserve this many more bytes; raises QueueFull if they do not fit."""
        if self._held + more > self._limit:
            msg = (
                f"The bodies of the requests under way have {self._held} bytes, {self._limit} are allowed; "
                f"{more} more do not fit now."
            )
            raise QueueFull(msg, _RETRY_AFTER_SECONDS)
        if self._whole is not None:
            self._whole.take(more)
        self._held += more

    def give_back(self, size: int) -> None:
        """Release this many bytes."""
        if self._whole is not None:
            self._whole.give_back(size)
        self._held -= size


class Reservation:
    """Bytes that one request has reserved of a budget."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size = 0

    def hold(self, size: int) -> None:
        """Grow the reservation to this many bytes in all; raises QueueFull if they do not fit."""
        if size > self._size:
            self._budget.take(size - self._size)
            self._size = size

    def release(self) -> None:
        """Give all of it back."""
        self._budget.give_back(self._size)
        self._size = 0
