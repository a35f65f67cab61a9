"""What of a model is computed when: which images are accepted, who has its turn, and what comes too late."""

import asyncio
import time
from collections.abc import Callable

from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.deadlines import Deadlines, too_late
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job


class Scheduler:
    """The admission, the queue, the cost model and the deadlines of one deployment; used from one event loop."""

    def __init__(self, name: str, limit: int, slots: Callable[[], int], costs: CostModel) -> None:
        """Admit up to ``limit`` images at a time for the model ``name``, so many of them to ``slots()`` at a time."""
        self.costs = costs
        self.queue = FairQueue(slots)
        self.admission = Admission(name, limit, self.queue, costs)
        self.deadlines = Deadlines()
        self._loop = asyncio.get_running_loop()

    def check(self, job: Job) -> None:
        """Raise DeadlineExceeded for an image that would begin too late; alone it is tried all the same.

        In any thread, when work on it would begin.
        """
        if (
            job.deadline is not None
            and job.deadline - self._loop.time() < self.costs.slot_seconds / 2
            and self.queue.is_shared
        ):
            raise too_late()

    def computed(self, job: Job) -> None:
        """Note that a job has used its slot: the cost model learns how long, and the next one begins.

        Called by an executor as soon as the cores are free, before the answer is given.
        """
        self.costs.answered(time.perf_counter() - job.started_at, self.queue.taken)
        self.queue.release(job)

    def release(self, job: Job) -> None:
        """Forget a job that was admitted, however it has ended."""
        self.queue.release(job)
        self.admission.release(job)
