import asyncio
from pathlib import Path

import pytest

from emo_serve.engine.execution.session import Session, open_session
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import ModelNotFound, ModelNotReady, ShuttingDown
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching, SessionOptions, Settings
from emo_serve.vision.results import ClassifyParameters
from tests.engine.reconciling import catalog_of
from tests.support import encode_image, plain, write_classifier, write_detector, write_segmenter

pytestmark = pytest.mark.anyio


async def test_every_good_model_is_served(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    write_detector(tmp_path)
    async with catalog_of(tmp_path) as catalog:
        assert catalog.ready
        assert catalog.alive
        assert [deployment.manifest.name for deployment in catalog.all()] == ["toy-classifier", "toy-detector"]
        assert catalog.get("classify").manifest.name == "toy-classifier"
        assert catalog.get("detect").manifest.name == "toy-detector"
        assert (
            await catalog.get("classify").predict(Job(encode_image(plain("red")), ClassifyParameters()))
        ).image.width


async def test_the_highest_version_answers_unless_one_is_asked_for(tmp_path: Path) -> None:
    for version in ("9", "10", "2"):
        write_classifier(tmp_path, version=version)
    async with catalog_of(tmp_path) as catalog:
        assert catalog.get("classify").manifest.version == "10"
        assert catalog.get("classify", "toy-classifier", "2").manifest.version == "2"
        with pytest.raises(ModelNotFound, match="no version '3'; there are: 2, 9, 10"):
            catalog.get("classify", None, "3")


async def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    async with catalog_of(tmp_path) as catalog:
        with pytest.raises(ModelNotFound, match="no model 'resnet' for classify; there are: toy-classifier"):
            catalog.get("classify", "resnet")
        with pytest.raises(ModelNotFound, match="no model 'toy-classifier' for detect; there are: none"):
            catalog.get("detect", "toy-classifier")
        with pytest.raises(ModelNotFound, match="No model serves detect"):
            catalog.get("detect")
        assert catalog.ready  # nothing failed: this repository just has no detector


async def test_a_broken_model_does_not_keep_the_others_from_serving(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    write_classifier(tmp_path, name="wrong-answers", golden_shift=0.5)
    (write_classifier(tmp_path, name="altered") / "model.onnx").write_bytes(b"changed")
    async with catalog_of(tmp_path) as catalog:
        assert catalog.ready is False  # there are failures, and nothing detects
        assert set(catalog.failures) == {"altered/1", "wrong-answers/1"}
        assert "off by up to 0.5" in catalog.failures["wrong-answers/1"]
        assert str(tmp_path) not in "".join(catalog.failures.values())
        assert catalog.get("classify").manifest.name == "toy-classifier"
        with pytest.raises(ModelNotReady):
            catalog.get("classify", "wrong-answers")
        write_detector(tmp_path)
    async with catalog_of(tmp_path) as catalog:
        assert catalog.ready  # no segmenter is shipped, so none is missed
        assert len(catalog.failures) == 2


async def test_a_broken_default_makes_the_process_unready_and_is_not_replaced(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="a", golden_shift=0.5)
    write_classifier(tmp_path, name="b")
    write_detector(tmp_path)
    async with catalog_of(tmp_path, default_classify_model="a") as catalog:
        assert catalog.not_ready_reasons() == ["the default model for classify, 'a', is not served"]
        with pytest.raises(ModelNotReady):
            catalog.get("classify")
        assert catalog.get("classify", "b").ready


async def test_an_older_version_stands_in_for_a_broken_newer_one(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    write_classifier(tmp_path, version="2", golden_shift=0.5)
    async with catalog_of(tmp_path) as catalog:
        assert catalog.get("classify").manifest.version == "1"
        assert list(catalog.failures) == ["toy-classifier/2"]


async def test_a_broken_segmenter_makes_the_process_unready(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    write_segmenter(tmp_path, golden_shift=1)
    async with catalog_of(tmp_path) as catalog:
        assert "the default model for segment, 'toy-segmenter', is not served" in catalog.not_ready_reasons()


async def test_a_default_that_is_not_there_makes_the_process_unready(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    async with catalog_of(tmp_path, default_classify_model="resnet") as catalog:
        assert catalog.not_ready_reasons() == ["the default model for classify, 'resnet', is not served"]


async def test_an_empty_repository_is_not_ready(tmp_path: Path) -> None:
    async with catalog_of(tmp_path) as catalog:
        assert not catalog.ready
        assert catalog.alive
        with pytest.raises(ModelNotFound):
            catalog.get("classify")


async def test_before_the_start_and_after_the_end_nothing_is_ready(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    catalog = Catalog(Settings(models=tmp_path), Metrics())
    assert catalog.not_ready_reasons() == ["the models are still being loaded"]
    with pytest.raises(ModelNotReady) as refused:
        catalog.get("classify")
    assert refused.value.retry_after_seconds == 1
    await catalog.start()
    assert catalog.not_ready_reasons() == []
    await catalog.close()
    assert catalog.not_ready_reasons() == ["shutting down"]
    with pytest.raises(ShuttingDown):
        await catalog.get("classify").predict(Job(encode_image(plain("red")), ClassifyParameters()))


@pytest.mark.parametrize("victim", ["batcher toy-classifier", "lag meter"])
async def test_the_death_of_a_watched_task_is_told_once(tmp_path: Path, victim: str) -> None:
    write_classifier(tmp_path)
    deaths: list[str] = []
    async with catalog_of(tmp_path, on_death=lambda: deaths.append("told")) as catalog:
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == victim]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        assert not catalog.alive
        assert not catalog.ready
        assert deaths == ["told"]


async def test_a_model_is_served_with_what_was_measured_for_it(tmp_path: Path) -> None:
    write_classifier(tmp_path / "models")
    sizes: list[tuple[int | None, int | None, int | None]] = []

    def spy(artefact: Artefact, settings: Settings) -> Session:
        batching, threads = settings.batching, settings.session.intra_op_threads
        sizes.append((batching.instances, threads, batching.max_batch_size))
        return open_session(artefact, settings)

    settings = Settings(
        models=tmp_path / "models",
        tune=True,
        cache_dir=tmp_path / "cache",
        batching=Batching(max_batch_size=4, instances=1),
        session=SessionOptions(intra_op_threads=1),
    )
    for _ in range(2):
        catalog = Catalog(settings, Metrics(), open_session=spy)
        await catalog.start()
        (deployment,) = catalog.all()
        await catalog.close()
        assert set(deployment.batch_seconds) == {1, 2, 4}
    assert sizes == [(1, 1, 4)] * 3  # measured and served, then served only
