"""Cost of images on this machine, learned from those that were answered.

The seconds of a run by batch size decide whether a fuller batch pays. The seconds that an image holds its slot, divided
by the slots taken, are the time between two answers of a busy model (Little's law); they predict waits.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

_NEWEST = 0.05  # weight of the newest image in the means: they follow the last 20 or so
_NEWEST_RUN = 0.1  # a batch size is met less often
_LEAST_GAIN = 0.1  # waiting for one more pays from so much less time an image
_LARGE_GAIN = 0.25  # more than chance and busy cores do to measurements; an accelerator saves most of the time
_HEAVY_SECONDS = 0.1  # a run that takes so long is not what somebody waits for who wants an answer at once
NOTHING_MEASURED: Mapping[int, float] = MappingProxyType({})


class CostModel:
    """The cost model of one deployment; used from its event loop."""

    slot_seconds: float
    """Seconds that an image holds its slot, from its decoding to its answer; 0 while nothing was measured."""
    interval: float
    """Seconds from one answer to the next while the model is busy; 0 while nothing was measured."""
    batches_pay: bool
    """True if full batches cost much less than single runs, and until they are measured.

    What was measured at start decides, if anything was: of later runs one size is met by a busy machine and another by
    an idle one, and their times say more about that.
    """
    slots: int
    """Number of images that are decoded and computed at a time.

    Where batches pay, as on an accelerator: what the threads decode, a batch in each instance and the next one. Where
    they do not, an image needs one core at a time: as many as there are cores at work, and one or some more that are
    ready, so that no core waits for the event loop. The rest would only wait inside.
    """
    is_heavy: bool
    """True if one image takes so long that other models should go first."""

    def __init__(
        self,
        instances: int,
        initial: Mapping[int, float] = NOTHING_MEASURED,
        *,
        max_batch_size: int = 1,
        decode_threads: int = 1,
    ) -> None:
        """Begin with what a measurement at start found: batch size -> seconds of one run, for one of ``instances``."""
        self._instances = instances
        self._max_batch_size = max_batch_size
        self._decode_threads = decode_threads
        self._initial = dict(initial)
        self._runs = dict(initial)
        self.slot_seconds = initial.get(1, 0.0)
        self.interval = min((seconds / size for size, seconds in initial.items()), default=0.0) / instances
        self._has_answered = False  # until then these two are what a run takes, and an image is more than that
        self._runs_changed()

    # ---- runs of the model -----------------------------------------------------------------------------------------

    def ran(self, size: int, seconds: float) -> float:
        """Learn from one run over ``size`` images; returns those expected by what was measured at start, if it was."""
        self._runs[size] = _mean(self._runs.get(size, seconds), seconds, _NEWEST_RUN)
        self._runs_changed()
        return _seconds(self._initial, size) or seconds

    def run_seconds(self, size: int) -> float:
        """Seconds of a run over ``size`` images; 0 while nothing was measured.

        Between two measured sizes on the straight line, beyond them in proportion to the nearest.
        """
        return _seconds(self._runs, size)

    def gain(self, size: int) -> float:
        """Seconds that one run of ``size + 1`` saves against one of ``size`` and one of 1; 0 where it does not pay.

        Infinite where no run of that size was seen: it has to be tried to be known.
        """
        if size >= max(self._runs, default=0):
            return math.inf
        more, less = self.run_seconds(size + 1), self.run_seconds(size)
        if more / (size + 1) > (1 - _LEAST_GAIN) * less / size:
            return 0.0
        return max(0.0, less + self.run_seconds(1) - more)

    def _runs_changed(self) -> None:
        size = self._max_batch_size
        self.is_heavy = self.run_seconds(1) >= _HEAVY_SECONDS
        self.batches_pay = size > 1 and _do_pay(self._initial or self._runs, size)
        if self.batches_pay:
            self.slots = self._decode_threads + 2 * self._instances * size
        else:
            threads = max(self._decode_threads, self._instances)
            self.slots = threads + max(1, threads // 4)

    # ---- images ----------------------------------------------------------------------------------------------------

    def answered(self, seconds: float, slots_taken: int) -> None:
        """Learn from an image that held its slot so long, one of so many that were taken."""
        weight = _NEWEST if self._has_answered else 1.0
        self.slot_seconds = _mean(self.slot_seconds, seconds, weight)
        self.interval = _mean(self.interval, seconds / slots_taken, weight)
        self._has_answered = True


def _do_pay(runs: Mapping[int, float], size: int) -> bool:
    if size > max(runs, default=0):
        return True
    return _seconds(runs, size) / size <= (1 - _LARGE_GAIN) * _seconds(runs, 1)


def _seconds(runs: Mapping[int, float], size: int) -> float:
    if size in runs or not runs:
        return runs.get(size, 0.0)
    below = max((known for known in runs if known < size), default=0)
    above = min((known for known in runs if known > size), default=0)
    if below and above:
        share = (size - below) / (above - below)
        return runs[below] + share * (runs[above] - runs[below])
    nearest = below or above
    return runs[nearest] * size / nearest


def _mean(before: float, newest: float, weight: float) -> float:
    return before + weight * (newest - before)
