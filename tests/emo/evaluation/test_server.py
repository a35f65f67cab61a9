"""How a running server is asked."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from emo.evaluation.ground_truth import read_truth
from emo.evaluation.measure import measure
from emo.evaluation.server import KEY_VARIABLE
from emo.evaluation.targets import choose_subject
from emo_serve.settings import Batching, Settings
from tests.emo.evaluation.splits import write_labelled
from tests.serving import Gates, running, until
from tests.support import write_classifier, write_detector

pytestmark = pytest.mark.anyio


async def test_a_server_that_is_busy_is_asked_again_until_it_has_answered(tmp_path: Path) -> None:
    write_classifier(tmp_path / "models")
    write_labelled(tmp_path / "data")
    gates, batching = Gates(), Batching(max_batch_size=1, instances=1, max_queue_size=1)
    truth = read_truth("classify", tmp_path / "data")
    with running(Settings(models=tmp_path / "models", batching=batching), gates.open_session) as server:
        session, samples = gates.sessions["toy-classifier"], server.services.metrics.registry
        session.gate.clear()
        measuring = asyncio.create_task(asyncio.to_thread(measure, choose_subject(server.url), truth))

        def refused() -> bool:
            labels = {"model": "toy-classifier", "reason": "queue_full"}
            return bool(samples.get_sample_value("emo_rejections_total", labels))

        await until(refused)
        session.gate.set()
        assert (await measuring)["top1"] == pytest.approx(2 / 3)
        assert samples.get_sample_value(
            "emo_requests_total", {"model": "toy-classifier", "task": "classify", "outcome": "ok"}
        ) == len(truth.pictures)


def test_a_server_of_several_models_wants_one_to_be_chosen(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    write_detector(tmp_path)
    with running(Settings(models=tmp_path)) as server:
        with pytest.raises(ValueError, match=r"toy-classifier@1, toy-detector@1: choose one with --model"):
            choose_subject(server.url)
        with pytest.raises(ValueError, match=r"answers 404: .*toy-classifier"):
            choose_subject(server.url, "toy-classifier@7")


def test_a_picture_that_the_server_refuses_is_named_with_its_reason(tmp_path: Path) -> None:
    write_classifier(tmp_path / "models")
    write_labelled(tmp_path / "data")
    (tmp_path / "data" / "val" / "green" / "1.png").write_bytes(b"GIF89a")
    with running(Settings(models=tmp_path / "models")) as server:
        for what in (server.url, str(tmp_path / "models" / "toy-classifier" / "1")):
            with pytest.raises(ValueError, match=r"^val/green/1\.png: .*cannot be decoded|truncated"):
                measure(choose_subject(what), read_truth("classify", tmp_path / "data"))


def test_a_server_with_keys_is_shown_the_one_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classifier(tmp_path / "models")
    write_labelled(tmp_path / "data")
    keys = tmp_path / "keys"
    keys.write_text(f"me:{hashlib.sha256(b'secret').hexdigest()}\n")
    with running(Settings(models=tmp_path / "models", api_keys_file=keys, api_key_concurrency=1)) as server:
        with pytest.raises(ValueError, match=rf"answers 401: .*{KEY_VARIABLE}"):
            choose_subject(server.url)
        monkeypatch.setenv(KEY_VARIABLE, "secret")
        found = measure(choose_subject(server.url), read_truth("classify", tmp_path / "data"))
    assert found["top1"] == pytest.approx(2 / 3)
