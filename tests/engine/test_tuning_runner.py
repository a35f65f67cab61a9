import logging
from pathlib import Path
from typing import Any

import pytest

from emo_serve.engine.execution.session import Session, open_session
from emo_serve.engine.host import Machine
from emo_serve.engine.repository.artefacts import Artefact, scan
from emo_serve.engine.tuning.runner import ThroughputProbe, Tuner
from emo_serve.engine.tuning.search import RunConfig
from emo_serve.settings import Batching, SessionOptions, Settings
from tests.engine.deploying import only_artefact
from tests.engine.fake_session import FakeSession
from tests.support import write_classifier, write_detector

MACHINE = Machine("Example 9000", cores=2, quota=None)
FEW = Batching(instances=1, max_batch_size=2)  # so that a search is over soon


class Sessions:
    """Opens fake sessions and keeps how they were asked for."""

    def __init__(self, session: FakeSession) -> None:
        self.asked: list[SessionOptions] = []
        self.session = session

    def open(self, artefact: Artefact, settings: Settings) -> Session:  # noqa: ARG002  has the shape of OpenSession
        self.asked.append(settings.session)
        return self.session


def toy(root: Path) -> Artefact:
    write_classifier(root / "models")
    return only_artefact(root / "models")


def tuned(root: Path, **changes: Any) -> Settings:  # noqa: ANN401  each setting has its own type
    parts: dict[str, Any] = {"models": root / "models", "tune": True, "cache_dir": root / "cache", "batching": FEW}
    return Settings(**parts | changes)


def test_a_real_model_is_measured_once_and_remembered_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artefact = toy(tmp_path)
    settings = tuned(tmp_path)
    with caplog.at_level(logging.INFO):
        tuning = Tuner(settings, 1, machine=MACHINE).tune(artefact)
    assert (tuning.setting.instances, tuning.setting.max_batch_size) == (1, 2)
    assert tuning.setting.intra_op_threads in {1, 2}
    assert set(tuning.batch_seconds) == {1, 2}
    assert all(row.seconds > 0 for row in tuning.table)
    (record,) = caplog.records
    logged = vars(record)
    assert (logged["message"], logged["model"], logged["remembered"]) == ("tuned", "toy-classifier", False)
    assert len(logged["table"]) == len(tuning.table)
    assert logged["table"][0]["images_per_second"] > 0

    sessions = Sessions(FakeSession())
    assert Tuner(settings, 1, sessions.open, MACHINE).tune(artefact) == tuning
    assert sessions.asked == []


def test_without_tuning_nothing_is_opened_and_the_defaults_are_used(tmp_path: Path) -> None:
    sessions = Sessions(FakeSession())
    settings = tuned(tmp_path, tune=False, batching=Batching())
    tuning = Tuner(settings, 1, sessions.open, MACHINE).tune(toy(tmp_path))
    assert tuning.setting == RunConfig(instances=2, intra_op_threads=1, max_batch_size=2)
    assert tuning.table == ()
    assert sessions.asked == []
    assert not (tmp_path / "cache").exists()


def test_a_model_that_fails_is_left_to_its_self_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeSession):
        def run(self, batch: Any) -> Any:  # noqa: ANN401, ARG002
            msg = "no such kernel"
            raise RuntimeError(msg)

    tuner = Tuner(tuned(tmp_path), 1, Sessions(Broken()).open, MACHINE)
    assert tuner.tune(toy(tmp_path)).setting == RunConfig(1, 1, 2)
    assert "no such kernel" in str(vars(caplog.records[0])["reason"])
    assert not (tmp_path / "cache").exists()


def test_a_burst_runs_full_batches_from_all_callers_in_one_session_for_each_number_of_threads(tmp_path: Path) -> None:
    sessions = Sessions(FakeSession())
    bursts = ThroughputProbe(toy(tmp_path), tuned(tmp_path), sessions.open, seconds=0)
    assert bursts(RunConfig(3, 1, 4), 3) > 0
    assert [len(batch) for batch in sessions.session.batches] == [4] * 6  # once to warm up, once to measure
    bursts(RunConfig(3, 1, 4), 3)
    assert len(sessions.session.batches) == 9
    bursts(RunConfig(1, 1, 1), 1)
    bursts(RunConfig(1, 2, 1), 1)
    assert [options.intra_op_threads for options in sessions.asked] == [1, 2]


def test_each_model_gets_its_share_of_the_time_that_is_left(tmp_path: Path) -> None:
    toy(tmp_path)
    write_detector(tmp_path / "models")
    shares: list[float] = []

    class Watched(Tuner):
        def measure(self, artefact: Artefact, seconds: float) -> Any:  # noqa: ANN401
            shares.append(seconds)
            return super().measure(artefact, seconds)

    one_setting = tuned(
        tmp_path, batching=Batching(instances=1, max_batch_size=1), session=SessionOptions(intra_op_threads=1)
    )
    tuner = Watched(one_setting, 2, open_session, MACHINE)
    for artefact in scan(tmp_path / "models").artefacts:
        tuner.tune(artefact)
    assert shares[0] == 2.5
    assert 2.5 <= shares[1] < 5
