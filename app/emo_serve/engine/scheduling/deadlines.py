"""Deadlines: moments on the event loop's clock (``loop.time()``, seconds) after which an answer is of no use."""

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from emo_serve.errors import DeadlineExceeded


class Deadlines:
    """Ends what takes too long, as ``asyncio.timeout_at`` does, for many tasks with one timer of the event loop.

    A timer for each would take a tenth of the time that a request costs the event loop.
    """

    def __init__(self) -> None:
        """For the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._open: set[_Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def before(self, deadline: float | None) -> AbstractContextManager[None]:
        """Cancel what is awaited inside at the deadline and raise DeadlineExceeded instead; None: wait for ever."""
        return nullcontext() if deadline is None else _Deadline(self, deadline, _did_not_come)

    def within(self, seconds: float, late: Callable[[], Exception]) -> AbstractContextManager[None]:
        """Like ``before``, with a deadline so many seconds from now, and raise what ``late`` returns."""
        return _Deadline(self, self._loop.time() + seconds, late)

    def add(self, deadline: "_Deadline") -> None:
        """Watch this deadline."""
        self._open.add(deadline)
        if deadline.moment < self._timer_at:
            self._set_timer(deadline.moment)

    def discard(self, deadline: "_Deadline") -> None:
        """Stop watching it; the timer moves on to the next deadline when it fires."""
        self._open.discard(deadline)

    def _set_timer(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = moment
        self._timer = self._loop.call_at(moment, self._expire_due)

    def _expire_due(self) -> None:
        now = max(self._loop.time(), self._timer_at)  # the clock stands still within a turn, and counts milliseconds
        self._timer, self._timer_at = None, math.inf
        for deadline in [deadline for deadline in self._open if deadline.moment <= now]:
            self._open.remove(deadline)
            deadline.expire()
        if self._open:
            self._set_timer(min(deadline.moment for deadline in self._open))


class _Deadline:
    """Context manager that sets a deadline for the current task."""

    __slots__ = ("_cancelling", "_deadlines", "_has_passed", "_late", "_task", "moment")

    def __init__(self, deadlines: Deadlines, moment: float, late: Callable[[], Exception]) -> None:
        self.moment = moment
        self._deadlines = deadlines
        self._late = late
        self._has_passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.add(self)

    def expire(self) -> None:
        self._has_passed = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        # Somebody else may want the task to end as well: that is then not for us to hide.
        if self._has_passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._late() from error


def too_late() -> DeadlineExceeded:
    """The error of an image that is not computed because its answer would miss its deadline."""
    return DeadlineExceeded("The answer could not have come before the request's deadline.")


def _did_not_come() -> DeadlineExceeded:
    return DeadlineExceeded("The answer did not come before the request's deadline.")
