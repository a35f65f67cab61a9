import asyncio
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from emo_serve.engine.execution.batched import BatchExecutor
from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.instances import Instances
from emo_serve.engine.execution.pipeline import Pipeline, prepare
from emo_serve.engine.execution.pixel_threads import PixelThreads
from emo_serve.engine.execution.session import Outputs
from emo_serve.engine.execution.tasks import ClassifyTask, DetectTask
from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job
from emo_serve.manifest import DetectionDefaults, Preprocessing
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.preprocess import least_side
from emo_serve.vision.results import (
    Classification,
    ClassifyParameters,
    DetectParameters,
    Geometry,
    ImageSize,
    Parameters,
)
from tests.engine.fake_session import FakeSession
from tests.support import PATIENCE_SECONDS, encode_image, plain

pytestmark = pytest.mark.anyio

RULE = Preprocessing(
    mode="stretch", height=8, width=8, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)
GEOMETRY = Geometry(ImageSize(8, 8), 1.0, 1.0)


@dataclass(slots=True)
class FakeTask:
    """Keeps the thread and the outputs with which it was called."""

    is_quick: bool
    threads: list[str] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)

    def postprocess(self, outputs: Outputs, geometry: Geometry, parameters: Parameters) -> Classification:
        assert geometry.image == ImageSize(width=48, height=40)
        assert parameters == ClassifyParameters()
        self.threads.append(threading.current_thread().name)
        self.outputs.append(outputs)
        return Classification(np.zeros(0, np.int64), np.zeros(0, np.float32))


@pytest.mark.parametrize("is_quick", [True, False])
async def test_each_step_hands_its_value_to_the_next_and_only_quick_steps_run_on_the_event_loop(
    is_quick: bool,
) -> None:
    task, session, pixel_threads = FakeTask(is_quick), FakeSession(), PixelThreads(threads=1)
    instances, queue = Instances("toy", session, 1), FairQueue(CostModel(1))
    batcher = Batcher(instances, Batching(), queue.costs, Metrics().for_model("toy", "classify"))
    executor = BatchExecutor(Pipeline(RULE, ImageLimits(), task), pixel_threads, batcher, Admission("toy", 10, queue))
    job = Job(encode_image(plain("white")), ClassifyParameters())
    await queue.acquire(job)
    async with asyncio.timeout(PATIENCE_SECONDS):
        prediction = await executor.run(job)
    assert not job.has_slot
    assert prediction.image == ImageSize(width=48, height=40)
    assert session.seen == [255]
    assert task.outputs[0]["scores"].tolist() == [255, 255, 255]  # one image's row, without the batch axis
    assert (task.threads[0] == threading.current_thread().name) == is_quick
    await instances.close()
    pixel_threads.close()


def test_an_upload_is_prepared_as_the_manifest_says() -> None:
    prepared = prepare(encode_image(plain("blue")), ImageLimits(), RULE)
    assert prepared.tensor.shape == (8, 8, 3)
    assert prepared.tensor.dtype == np.uint8
    assert prepared.tensor[0, 0].tolist() == [0, 0, 255]
    assert prepared.decode_seconds > 0
    assert prepared.preprocess_seconds > 0


def test_a_large_jpeg_is_prepared_at_a_fraction_where_that_is_allowed() -> None:
    upload = encode_image(plain("blue", 640, 480), "JPEG")
    whole = prepare(upload, ImageLimits(), RULE)
    fraction = prepare(upload, ImageLimits(), RULE, least_side(RULE))
    assert (whole.scale, fraction.scale) == (1, 8)
    assert whole.geometry == fraction.geometry
    assert np.abs(whole.tensor.astype(int) - fraction.tensor).max() <= 1


def test_a_task_refuses_the_parameters_of_another() -> None:
    outputs = {"scores": np.zeros(3, np.float32)}
    with pytest.raises(TypeError, match="DetectParameters"):
        ClassifyTask().postprocess(outputs, GEOMETRY, DetectParameters())
    with pytest.raises(TypeError, match="ClassifyParameters"):
        DetectTask(("a",), DetectionDefaults()).postprocess(outputs, GEOMETRY, ClassifyParameters())
