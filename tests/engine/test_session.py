from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from emo_serve.engine.execution.session import OrtSession
from emo_serve.errors import StartupError
from emo_serve.manifest import MANIFEST_FILE, Manifest, read_manifest
from emo_serve.settings import SessionOptions
from tests.support import plain, quadrants, write_classifier, write_detector

OPTIONS = SessionOptions()


def load(folder: Path, manifest: Manifest | None = None) -> OrtSession:
    return OrtSession(folder / "model.onnx", manifest or read_manifest(folder / MANIFEST_FILE), OPTIONS)


def test_a_batch_comes_back_by_name_in_its_order(tmp_path: Path) -> None:
    session = load(write_classifier(tmp_path))
    outputs = session.run(np.stack([plain("red", 32, 32), plain("blue", 32, 32), plain("green", 32, 32)]))
    assert list(outputs) == ["scores"]
    assert outputs["scores"].argmax(axis=1).tolist() == [0, 2, 1]


def test_a_batch_of_three_equals_three_singles(tmp_path: Path) -> None:
    session = load(write_detector(tmp_path))
    images = np.stack(
        [
            quadrants("red", "white", "blue", "green"),
            quadrants("black", "red", "red", "blue"),
            quadrants("green", "green", "green", "green"),
        ]
    )
    together = session.run(images)
    for row, image in enumerate(images):
        alone = session.run(image[None])
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][row], atol=1e-6)


def test_threads_can_share_a_session(tmp_path: Path) -> None:
    session = load(write_classifier(tmp_path))
    colours = ["red", "green", "blue"] * 20
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(lambda colour: session.run(plain(colour, 32, 32)[None])["scores"][0].argmax(), colours)
        )
    assert answers == [0, 1, 2] * 20


def changed(manifest: Manifest, **parts: object) -> Manifest:
    return Manifest.model_validate(manifest.model_dump() | parts)


def test_a_graph_that_differs_from_its_manifest_is_refused_with_both_named(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    manifest = read_manifest(folder / MANIFEST_FILE)
    scores = {"name": "scores", "dtype": "float32", "shape": (-1, 5)}
    with pytest.raises(StartupError, match=r"model\.onnx.*'scores'.*\(-1, 3\) in the graph.*\(-1, 5\) in the manifest"):
        load(folder, changed(manifest, outputs=[scores]))
    renamed = manifest.input.model_dump() | {"name": "pixels"}
    with pytest.raises(StartupError, match=r"no tensor 'pixels', only \['image'\]"):
        load(folder, changed(manifest, input=renamed))


def test_a_gpu_that_cannot_be_had_is_an_error_and_not_the_cpu_in_its_place(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    manifest = read_manifest(folder / MANIFEST_FILE)
    with pytest.raises(StartupError, match=r"model\.onnx.*no CUDAExecutionProvider.*CPU.*onnxruntime-gpu"):
        OrtSession(folder / "model.onnx", manifest, SessionOptions(provider="cuda"))


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(StartupError, match=r"model\.onnx"):
        load(folder)
