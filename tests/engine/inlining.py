"""Helpers of the inline executor's tests: one beside a batcher, over steps whose images are numbers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.inline import InlineExecutor
from emo_serve.engine.execution.pipeline import Pipeline, Prepared
from emo_serve.engine.execution.session import Run, Session
from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job, Priority
from emo_serve.metrics.definitions import Metrics
from emo_serve.vision.results import Classification, Geometry, ImageSize, Prediction, Timings
from tests.engine.batching import batching, job, tensor

GEOMETRY = Geometry(ImageSize(2, 2), 1.0, 1.0)
NOTHING = Classification(np.zeros(0, np.int64), np.zeros(0, np.float32))


class Steps(Pipeline):
    """Steps of images that are numbers; what happened to them, and in which threads."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.decode: dict[Job, Callable[[], int]] = {}
        self.answers: dict[Job, float] = {}

    def when_open(self, value: int) -> Callable[[], int]:
        def decode() -> int:
            self.gate.wait()
            self.threads.add(threading.current_thread().name)
            return value

        return decode

    def prepare(self, job: Job) -> Prepared:
        return Prepared(tensor(self.decode[job]()), GEOMETRY, 1, 0.0, 0.0, 0.0)

    def finish(self, job: Job, prepared: Prepared, run: Run) -> Prediction:
        assert prepared.tensor.shape == (2, 2, 3)
        self.threads.add(threading.current_thread().name)
        self.answers[job] = float(run.outputs["scores"][0])
        return Prediction(ImageSize(2, 2), NOTHING, NOTHING, Timings({"infer": run.infer_seconds}))


class Watched(FairQueue):
    """Writes down which images are computed."""

    def __init__(self, steps: Steps, costs: CostModel) -> None:
        super().__init__(costs)
        self._steps = steps

    def finish(self, job: Job) -> None:
        self._steps.events.append(f"{self._steps.answers[job]:g} computed")


@dataclass(slots=True)
class Inline:
    """An executor beside a batcher, of the same session."""

    batcher: Batcher
    executor: InlineExecutor
    steps: Steps

    @property
    def is_best(self) -> bool:
        return self.executor.is_best

    async def run(self, decode: Callable[[], int], priority: Priority | None = None) -> float:
        image = job(priority=priority)
        self.steps.decode[image] = decode
        await self.executor.run(image)
        return self.steps.answers[image]

    def start(self, value: int, priority: Priority | None = None) -> asyncio.Task[None]:
        async def image() -> None:
            computed = await self.run(self.steps.when_open(value), priority)
            self.steps.events.append(f"{value} answered {computed:g}")

        return asyncio.create_task(image())


@asynccontextmanager
async def inline(session: Session, steps: Steps, costs: CostModel, *, max_batch_size: int = 4) -> AsyncIterator[Inline]:
    async with batching(session, costs=costs, max_batch_size=max_batch_size) as batcher:
        admission = Admission("toy", 100, Watched(steps, costs))
        executor = InlineExecutor(steps, batcher, admission, Metrics().for_model("toy", "classify"))
        yield Inline(batcher, executor, steps)
