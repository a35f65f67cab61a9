import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emo_serve.engine.execution.pixel_threads import PixelThreads
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.repository.artefacts import scan
from emo_serve.engine.scheduling.job import Job, Ticket
from emo_serve.errors import (
    DeadlineExceeded,
    ImageUndecodable,
    InferenceFailed,
    InvalidParameter,
    Overloaded,
    QueueFull,
    ShuttingDown,
    UnsupportedMediaType,
)
from emo_serve.metrics.definitions import Metrics
from emo_serve.vision.results import ClassifyParameters, DetectParameters
from tests.engine.batching import now, turns
from tests.engine.deploying import deployed, picture, settings_for
from tests.engine.fake_session import FakeSession
from tests.support import PATIENCE_SECONDS, encode_image, plain, write_classifier, write_detector

pytestmark = pytest.mark.anyio

TOP = ClassifyParameters(top_k=3)


async def test_a_bad_image_fails_alone(tmp_path: Path) -> None:
    good = encode_image(plain("red"))
    async with deployed(write_classifier(tmp_path)) as deployment:
        answers = await asyncio.gather(
            *(deployment.predict(Job(upload, TOP)) for upload in (good, b"", b"no image", good[:-30], good)),
            return_exceptions=True,
        )
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds[0] == kinds[4] == "Prediction"
    assert isinstance(answers[1], ImageUndecodable)
    assert isinstance(answers[2], UnsupportedMediaType)
    assert isinstance(answers[3], ImageUndecodable)


async def test_an_unknown_class_is_the_clients_mistake(tmp_path: Path) -> None:
    async with deployed(write_detector(tmp_path)) as deployment:
        with pytest.raises(InvalidParameter, match="purple"):
            await deployment.predict(Job(encode_image(plain("red")), DetectParameters(classes=("purple",))))


async def test_a_failing_model_is_logged_with_its_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = FakeSession(poison=frozenset({7}))
    async with deployed(write_classifier(tmp_path), session=session) as deployment:
        with pytest.raises(InferenceFailed), caplog.at_level(logging.ERROR):
            await deployment.predict(Job(picture(7), TOP))
        (record,) = caplog.records
        assert record.exc_info
        assert "poisoned" not in record.getMessage()
        assert deployment.ready


async def test_any_bug_of_ours_is_an_inference_failure(tmp_path: Path) -> None:
    async with deployed(write_classifier(tmp_path)) as deployment:
        with pytest.raises(InferenceFailed) as failed:
            await deployment.predict(Job(picture(7), DetectParameters()))
    assert isinstance(failed.value.__cause__, TypeError)


async def test_a_full_deployment_refuses_before_decoding(tmp_path: Path) -> None:
    session = FakeSession(is_open=False)
    settings = settings_for(tmp_path, max_queue_size=2)
    async with deployed(write_classifier(tmp_path), settings, session) as deployment:
        tasks = [asyncio.create_task(deployment.predict(Job(picture(value), TOP))) for value in (1, 2)]
        await turns()
        with pytest.raises(QueueFull):
            await deployment.predict(Job(b"not even an image", TOP))
        tasks[0].cancel()
        await turns()
        third = asyncio.create_task(deployment.predict(Job(picture(3), TOP)))
        session.gate.set()
        await asyncio.gather(tasks[1], third)


async def test_clients_take_turns(tmp_path: Path) -> None:
    session = FakeSession(is_open=False)
    async with deployed(write_classifier(tmp_path), settings_for(tmp_path, max_batch_size=1), session) as deployment:
        blocker = asyncio.create_task(deployment.predict(Job(picture(255), TOP)))
        await session.entered()
        tickets = [(value, Ticket("bulk")) for value in range(5)] + [(9, Ticket("single"))]
        tasks = [
            asyncio.create_task(deployment.predict(Job(picture(value), TOP, None, ticket))) for value, ticket in tickets
        ]
        await turns()
        session.gate.set()
        await asyncio.gather(blocker, *tasks)
    assert session.seen == [255, 0, 9, 1, 2, 3, 4]


async def test_an_image_that_gets_its_slot_too_late_is_told_so_before_its_deadline_and_not_decoded(
    tmp_path: Path,
) -> None:
    session = FakeSession(is_open=False)
    async with deployed(write_classifier(tmp_path), settings_for(tmp_path, max_batch_size=1), session) as deployment:
        blocker = asyncio.create_task(deployment.predict(Job(picture(255), TOP)))
        await session.entered()
        late = asyncio.create_task(deployment.predict(Job(picture(1), TOP, now() + PATIENCE_SECONDS)))
        patient = asyncio.create_task(deployment.predict(Job(picture(2), TOP)))
        await turns()
        deployment._fair_queue.costs.answered(1000, slots_taken=1)
        session.gate.set()
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(blocker, patient)
    assert session.seen == [255, 2]


async def test_an_idle_model_tries_what_a_busy_one_refuses_by_its_measured_costs(tmp_path: Path) -> None:
    session = FakeSession()
    measured = {1: 30.0, 2: 60.0}
    (artefact,) = scan(write_classifier(tmp_path).parents[1]).artefacts
    settings, pixel_threads = settings_for(tmp_path, max_batch_size=1), PixelThreads(threads=1)
    deployment = Deployment(artefact, session, settings, Metrics(), pixel_threads, batch_seconds=measured)
    session.gate.clear()
    first = asyncio.create_task(deployment.predict(Job(picture(1), TOP)))
    await session.entered()
    late = now() + 20
    with pytest.raises(Overloaded):
        deployment.enter("a", "a", late)
    session.gate.set()
    assert (await first).timings.stages["total"] < 20
    assert await deployment.predict(Job(picture(2), TOP, late))  # alone it is tried
    await deployment.close()
    pixel_threads.close()


async def test_to_wait_for_ones_turn_is_time_in_the_queue(tmp_path: Path) -> None:
    session, metrics = FakeSession(is_open=False), Metrics()
    settings = settings_for(tmp_path, max_batch_size=1)
    async with deployed(write_classifier(tmp_path), settings, session, metrics) as deployment:
        first = asyncio.create_task(deployment.predict(Job(picture(255), TOP)))
        await session.entered()
        second = asyncio.create_task(deployment.predict(Job(picture(1), TOP)))
        await turns()
        came = time.perf_counter()
        await turns()
        waited = time.perf_counter() - came
        session.gate.set()
        await first
        stages = (await second).timings.stages
    assert stages["total"] > stages["queue"] > waited
    in_queue = metrics.registry.get_sample_value("emo_stage_seconds_sum", {"model": "toy-classifier", "stage": "queue"})
    assert in_queue is not None
    assert in_queue >= stages["queue"]


async def test_cancelled_requests_are_neither_decoded_nor_computed(tmp_path: Path) -> None:
    session = FakeSession(is_open=False)
    async with deployed(write_classifier(tmp_path), settings_for(tmp_path, max_batch_size=1), session) as deployment:
        blocker = asyncio.create_task(deployment.predict(Job(picture(255), TOP)))
        await session.entered()
        tasks = [asyncio.create_task(deployment.predict(Job(picture(value), TOP))) for value in range(200)]
        await turns()
        for task in tasks[:150]:
            task.cancel()
        session.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await blocker
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:150])
    assert sorted(session.seen) == [*range(150, 200), 255]


async def test_the_deadline_holds_over_all_steps(tmp_path: Path) -> None:
    session = FakeSession(is_open=False)
    async with deployed(write_classifier(tmp_path), session=session) as deployment:
        with pytest.raises(DeadlineExceeded):
            await deployment.predict(Job(picture(1), TOP, asyncio.get_running_loop().time() + 0.05))


async def test_closing_answers_what_was_accepted_even_if_it_was_not_decoded_yet(tmp_path: Path) -> None:
    session = FakeSession(is_open=False)
    async with deployed(write_classifier(tmp_path), session=session) as deployment:
        tasks = [asyncio.create_task(deployment.predict(Job(picture(value), TOP))) for value in range(5)]
        await turns(1)
        closing = asyncio.create_task(deployment.close())
        await turns()
        with pytest.raises(ShuttingDown):
            await deployment.predict(Job(picture(9), TOP))
        session.gate.set()
        await closing
        assert len(await asyncio.gather(*tasks)) == 5
        assert not deployment.ready


async def test_a_drain_that_takes_too_long_rejects_the_rest(tmp_path: Path) -> None:
    session = FakeSession(is_open=False)
    settings = settings_for(tmp_path, drain_seconds=0.05)
    async with deployed(write_classifier(tmp_path), settings, session) as deployment:
        tasks = [asyncio.create_task(deployment.predict(Job(picture(value), TOP))) for value in range(3)]
        await session.entered()
        await deployment.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, ShuttingDown) for answer in answers)


async def test_every_outcome_is_counted_once(tmp_path: Path) -> None:
    metrics = Metrics()
    session = FakeSession(is_open=False, poison=frozenset({7}))
    settings = settings_for(tmp_path, max_queue_size=2)
    async with deployed(write_classifier(tmp_path), settings, session, metrics) as deployment:

        async def attempt(upload: bytes) -> None:
            await asyncio.gather(deployment.predict(Job(upload, TOP)), return_exceptions=True)

        await attempt(b"junk")
        tasks = [asyncio.create_task(attempt(picture(value))) for value in (1, 7)]
        await session.entered()
        await attempt(picture(2))
        session.gate.set()
        await asyncio.gather(*tasks)
        session.gate.clear()
        leaver = asyncio.create_task(deployment.predict(Job(picture(3), TOP)))
        await session.entered()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)

    def count(outcome: str) -> float | None:
        labels = {"model": "toy-classifier", "task": "classify", "outcome": outcome}
        return metrics.registry.get_sample_value("emo_requests_total", labels)

    outcomes = ("ok", "invalid", "failed", "unavailable", "cancelled")
    assert [count(outcome) for outcome in outcomes] == [1, 1, 1, 1, 1]
    value: Callable[[str, dict[str, str]], float | None] = metrics.registry.get_sample_value
    assert value("emo_rejections_total", {"model": "toy-classifier", "reason": "queue_full"}) == 1
    assert value("emo_cancelled_total", {"model": "toy-classifier"}) == 1
    assert value("emo_stage_seconds_count", {"model": "toy-classifier", "stage": "total"}) == 1
