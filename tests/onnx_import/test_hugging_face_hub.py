"""``emo-serve add --from-hf`` of a repository: what is fetched of a stand-in for the Hub, and no Hub at all."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.onnx_import.hf_folders import SQUARE, add, answers, scores_by_hand, write_folder
from tests.onnx_import.hub import Hub, serving


def test_a_repository_is_fetched_without_what_is_not_needed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "theirs")
    (folder / "model.safetensors").write_bytes(b"weights of no use here")
    (folder / "onnx" / "model_int8.onnx").write_bytes(b"")
    with serving("someone/toy", folder, tmp_path / "cache") as hub:
        added = hub.add("someone/toy@main", tmp_path / "models")
        assert added.returncode == 0, added.stderr
        assert hub.fetched == {"config.json", "preprocessor_config.json", "onnx/model.onnx"}
        refused = hub.add("someone/nothing", tmp_path / "models")
    assert refused.returncode == 1
    assert "someone/nothing: cannot be fetched" in refused.stderr
    assert "Traceback" not in refused.stderr
    np.testing.assert_allclose(answers(tmp_path / "models")["scores"], scores_by_hand(SQUARE), rtol=2e-3)


def test_weights_beside_the_network_come_along(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "theirs")
    model = onnx.load(folder / "onnx" / "model.onnx")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 400), np.float32), "unused"))
    model.graph.node[1].output[0] = "flat"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["unused"], ["nothing"], axes=[1], keepdims=1),
            helper.make_node("Add", ["flat", "nothing"], ["logits"]),
        ]
    )
    onnx.save(model, folder / "onnx" / "model.onnx", save_as_external_data=True, location="model.onnx_data")
    with serving("someone/toy", folder, tmp_path / "cache") as hub:
        added = hub.add("someone/toy", tmp_path / "models")
    assert added.returncode == 0, added.stderr
    assert "onnx/model.onnx_data" in hub.fetched
    np.testing.assert_allclose(answers(tmp_path / "models")["scores"], scores_by_hand(SQUARE), rtol=2e-3)


def test_a_hub_that_is_not_there_is_an_error_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Hub("http://127.0.0.1:9", tmp_path / "cache").add("someone/toy", tmp_path / "models")
    assert refused.returncode == 1
    assert "someone/toy: cannot be fetched" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert add("no folder", tmp_path / "models") == 1
    assert "is no folder, and no repository" in capsys.readouterr().err


def test_without_the_extra_a_repository_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert add("someone/toy", tmp_path / "models") == 1
    assert "emo-serve[hf]" in capsys.readouterr().err
