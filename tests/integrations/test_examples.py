"""The examples, with the packages that they are for."""

from pathlib import Path

import fiftyone
import numpy as np
import pytest
from emo_client import Client
from PIL import Image

from examples import fiftyone_dataset, gradio_app, supervision_frames


def test_the_gradio_app_answers_about_a_photo(client: Client, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradio_app, "client", client)
    classes, drawn = gradio_app.app.fn(Image.open(photo))
    assert max(classes.values()) <= 1
    assert drawn.size == Image.open(photo).size


def test_samples_of_fiftyone_get_fields(client: Client, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    samples = [fiftyone.Sample(str(path)) for path in (photo, tmp_path / "broken.jpg")]
    fiftyone_dataset.annotate(samples, client)
    assert samples[0].objects.detections
    assert all(0 <= value <= 1 for value in samples[0].objects.detections[0].bounding_box)
    assert "objects" not in samples[1].field_names


def test_frames_get_boxes(client: Client, photo: Path) -> None:
    frame = np.asarray(Image.open(photo).convert("RGB"))[:, :, ::-1]
    drawn = supervision_frames.annotated(frame, client)
    assert drawn.shape == frame.shape
    assert (drawn != frame).any()
