"""What is served follows the repository."""

import asyncio
import gc
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emo_serve.engine.execution.session import Session, open_session
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import ModelNotFound
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching, Settings
from emo_serve.vision.results import ClassifyParameters
from tests.engine.fake_session import FakeSession
from tests.engine.reconciling import NAME, RED, answering, catalog_of, root, versions
from tests.serving import until
from tests.support import PATIENCE_SECONDS, write_classifier

__all__ = ["root"]  # a fixture

pytestmark = pytest.mark.anyio


async def test_a_new_version_answers_and_the_one_before_does_where_it_is_asked_for(root: Path) -> None:
    async with catalog_of(root) as catalog:
        write_classifier(root, version="2", turn=1)
        assert answering(catalog) == "1"
        await catalog.reconcile()
        assert (answering(catalog), answering(catalog, "1")) == ("2", "1")


async def test_a_version_whose_folder_is_removed_ends(root: Path) -> None:
    metrics = Metrics()
    write_classifier(root, version="2")
    labels = {"model": NAME, "version": "1", "provider": "cpu", "precision": "float32"}
    async with catalog_of(root, metrics) as catalog:
        assert metrics.registry.get_sample_value("emo_model_info", labels) == 1
        shutil.rmtree(root / NAME / "1")
        await catalog.reconcile()
        assert versions(catalog) == ["2"]
        await until(lambda: metrics.registry.get_sample_value("emo_model_info", labels) is None)
        with pytest.raises(ModelNotFound, match="no version '1'; there are: 2"):
            catalog.get("classify", NAME, "1")


@pytest.mark.parametrize("fault", ["digest", "golden", "manifest", "half"])
async def test_a_bad_version_does_not_take_the_place_of_a_good_one_until_it_is_mended(root: Path, fault: str) -> None:
    metrics = Metrics()

    def loads(outcome: str) -> float | None:
        return metrics.registry.get_sample_value("emo_model_loads_total", {"model": NAME, "outcome": outcome})

    async with catalog_of(root, metrics) as catalog:
        folder = write_classifier(root, version="2", golden_shift=0.5 * (fault == "golden"))
        if fault == "digest":
            (folder / "model.onnx").write_bytes(b"half of it")
        elif fault == "manifest":
            (folder / "manifest.json").write_text('{"name": ')
        elif fault == "half":
            (folder / "manifest.json").unlink()
        await catalog.reconcile()
        assert versions(catalog) == ["1"]
        assert catalog.ready is True
        assert list(catalog.failures) == [f"{NAME}/2"]
        assert str(root) not in catalog.failures[f"{NAME}/2"]
        assert loads("failed") == (None if fault == "half" else 1)
        shutil.rmtree(folder)
        write_classifier(root, version="2")
        await catalog.reconcile()
        assert answering(catalog) == "2"
        assert not catalog.failures
        assert loads("ok") == 2


async def test_the_last_version_stays_as_long_as_the_folder_of_its_model(root: Path) -> None:
    write_classifier(root, "other")
    async with catalog_of(root) as catalog:
        shutil.rmtree(root / NAME / "1")
        (write_classifier(root, version="2") / "model.onnx").write_bytes(b"broken")
        await catalog.reconcile()
        assert versions(catalog) == ["1"]
        assert set(catalog.failures) == {f"{NAME}/1", f"{NAME}/2", "defaults.json"}  # of two none is the default
        shutil.rmtree(root / NAME)
        await catalog.reconcile()
        assert versions(catalog) == []
        assert not catalog.failures
        assert catalog.get("classify").manifest.name == "other"


@pytest.mark.parametrize("way", ["empty", "gone"])
async def test_a_repository_in_which_nothing_is_found_changes_nothing(root: Path, way: str) -> None:
    async with catalog_of(root) as catalog:
        shutil.rmtree(root)
        if way == "empty":
            os.mkdir(root)  # noqa: PTH102  # it is an async test
        await catalog.reconcile()
        assert answering(catalog) == "1"
        assert list(catalog.failures) == ["."]


async def test_what_was_loaded_goes_on_when_its_files_are_changed(root: Path) -> None:
    async with catalog_of(root) as catalog:
        shutil.rmtree(root / NAME / "1")
        write_classifier(root, turn=1)
        await catalog.reconcile()
        assert "was changed after it was loaded" in catalog.failures[f"{NAME}/1"]
        assert catalog.get("classify").labels[0] == "red"


async def test_files_that_were_only_copied_again_are_no_change(root: Path) -> None:
    async with catalog_of(root) as catalog:
        before = catalog.get("classify")
        for path in (root / NAME / "1").iterdir():
            path.touch()
        await catalog.reconcile()
        assert catalog.get("classify") is before
        assert not catalog.failures


async def test_a_version_whose_manifest_is_taken_away_goes_on_until_its_folder_is_removed(root: Path) -> None:
    write_classifier(root, version="2")
    async with catalog_of(root) as catalog:
        (root / NAME / "1" / "manifest.json").unlink()
        await catalog.reconcile()
        assert versions(catalog) == ["1", "2"]
        assert list(catalog.failures) == [f"{NAME}/1"]


async def test_a_new_model_that_is_broken_does_not_become_the_default(root: Path) -> None:
    async with catalog_of(root) as catalog:
        write_classifier(root, "a-new-one", golden_shift=0.5)
        await catalog.reconcile()
        assert catalog.get("classify").manifest.name == NAME
        assert catalog.ready


# ---- the end of a version ----


async def test_who_was_let_in_is_answered_by_the_version_that_let_it_in(root: Path) -> None:
    write_classifier(root, version="2", turn=1)
    async with catalog_of(root) as catalog:
        old = catalog.get("classify", NAME, "1")
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        ticket = old.enter("client", "request", deadline)
        shutil.rmtree(root / NAME / "1")
        await catalog.reconcile()
        assert versions(catalog) == ["2"]
        prediction = await old.predict(Job(RED, ClassifyParameters(), deadline, ticket))  # its body was slow
        assert prediction.result
        assert old.ready
        ticket.leave()
        await until(lambda: not old.ready)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("batched", [False, True])
async def test_a_version_that_has_ended_is_released_at_once(root: Path, *, batched: bool) -> None:
    """Without the garbage collector, which is told to skip what was loaded at start."""
    sessions: list[weakref.ref[Session]] = []

    def spy(artefact: Artefact, settings: Settings) -> Session:
        session = open_session(artefact, settings) if not batched else FakeSession()
        sessions.append(weakref.ref(session))
        return session

    def no_test(*_: object) -> dict[int, float]:
        return {}

    with pytest.MonkeyPatch.context() as patch, no_garbage_collection():
        if batched:
            patch.setattr("emo_serve.engine.registry.deployment.self_test", no_test)
        metrics = Metrics()
        async with catalog_of(root, metrics, spy, batching=Batching(max_batch_size=4, instances=1)) as catalog:
            answers = (catalog.get("classify").predict(Job(RED, ClassifyParameters())) for _ in range(8))
            await asyncio.gather(*answers)
            write_classifier(root, version="2")
            shutil.rmtree(root / NAME / "1")
            await catalog.reconcile()
            await until(lambda: sessions[0]() is None)
            assert sessions[1]() is not None
            assert len(metrics.queues[NAME]) == 1


# ---- how it comes to be followed ----


async def test_a_folder_that_is_watched_is_followed(root: Path) -> None:
    async with catalog_of(root, watch_seconds=0.1) as catalog:
        write_classifier(root, version="2")
        await until(lambda: versions(catalog) == ["1", "2"])
        shutil.rmtree(root / NAME / "1")
        await until(lambda: versions(catalog) == ["2"])


async def test_a_new_version_runs_as_the_one_before_was_measured_to_run_best(root: Path, tmp_path: Path) -> None:
    sizes: list[tuple[str, int | None]] = []

    def spy(artefact: Artefact, settings: Settings) -> Session:
        sizes.append((artefact.manifest.version, settings.batching.max_batch_size))
        return open_session(artefact, settings)

    batching = Batching(max_batch_size=3, instances=1)
    async with catalog_of(root, None, spy, tune=True, cache_dir=tmp_path / "cache", batching=batching) as catalog:
        measured = catalog.get("classify").batch_seconds
        write_classifier(root, version="2", turn=1)
        await catalog.reconcile()
        assert catalog.get("classify").batch_seconds == measured
    assert [entry for entry in sizes if entry[0] == "2"] == [("2", 3)]  # once, to be served
