"""What is left of a batch job while it runs: which shard is next, how many pictures failed, whether to go on."""

import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from emo_serve.offline.progress import Progress
from emo_serve.offline.shards import Report, Shard

_JUDGED_FROM = 100  # pictures: fewer say little about the failure rate


class Backlog:
    """The shards that are to be computed, for the engine that computes them."""

    def __init__(self, shards: Iterable[Shard], inputs: int, failed: int, max_failure_rate: float) -> None:
        """``inputs`` are the pictures of the whole job, ``failed`` those with an error in shards of earlier runs."""
        self._missing = deque(shards)
        self._max_failure_rate = max_failure_rate
        self._signals: list[int] = []
        missing = sum(len(shard.sources) for shard in self._missing)
        self._inputs, self._before, self._failed_before = inputs, inputs - missing, failed
        self._progress = Progress(missing, self._before)
        self.too_many_failed = self._judged()

    def __len__(self) -> int:
        """Shards that were not given out."""
        return len(self._missing)

    @property
    def failure_rate(self) -> float:
        """Share of the pictures so far that have an error, those of earlier runs included."""
        return (self._failed_before + self._progress.failed) / max(self._done, 1)

    @property
    def is_stopping(self) -> bool:
        """True if what was begun is the last."""
        return bool(self._signals) or self.too_many_failed

    def next(self) -> Shard | None:
        """The next shard, or None if there is none, or the job is to end."""
        return None if self.is_stopping or not self._missing else self._missing.popleft()

    def put_back(self, shard: Shard) -> None:
        """Let a shard be the next one: it was not written."""
        self._missing.appendleft(shard)

    def add(self, report: Report) -> None:
        """Count pictures that are done."""
        self._progress.add(report.pictures, report.failed)
        self.too_many_failed |= self._judged()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """A context in which a signal lets begun shards end; a second one interrupts at once. Shows the end."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
            self._progress.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def _done(self) -> int:
        return self._before + self._progress.done

    def _judged(self) -> bool:
        """True if too many failed of those so far, once they are enough to say so."""
        return self._done >= min(_JUDGED_FROM, self._inputs) and self.failure_rate > self._max_failure_rate

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) > 1:
            raise KeyboardInterrupt
        sys.stderr.write("\nemo-serve: finishing the shards that were begun; once more to end at once\n")
