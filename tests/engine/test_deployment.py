import asyncio
from pathlib import Path

import numpy as np
import pytest

from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import (
    SelfTestFailed,
)
from emo_serve.vision.results import Classification, ClassifyParameters, Detections, DetectParameters, ImageSize
from tests.engine.deploying import deployed, settings_for
from tests.support import (
    COLOURS,
    encode_image,
    plain,
    quadrants,
    write_classifier,
    write_detector,
)

pytestmark = pytest.mark.anyio

TOP = ClassifyParameters(top_k=3)


async def test_a_classifier_names_the_colour(tmp_path: Path) -> None:
    async with deployed(write_classifier(tmp_path)) as deployment:
        prediction = await deployment.predict(Job(encode_image(plain("green", width=70, height=50)), TOP))
    assert prediction.image == ImageSize(width=70, height=50)
    assert isinstance(prediction.result, Classification)
    assert COLOURS[prediction.result.class_ids[0]] == "green"
    assert prediction.result.scores[0] > 0.99
    stages = dict(prediction.timings.stages)
    assert all(seconds >= 0 for seconds in stages.values())
    assert stages.pop("total") >= sum(stages.values())


async def test_a_detector_finds_the_quadrants_in_pixels_of_the_image(tmp_path: Path) -> None:
    upload = encode_image(quadrants("red", "white", "black", "blue", side=64))
    async with deployed(write_detector(tmp_path)) as deployment:
        prediction = await deployment.predict(Job(upload, DetectParameters()))
    assert isinstance(prediction.result, Detections)
    found = {
        COLOURS[label]: box.tolist()
        for label, box in zip(prediction.result.class_ids, prediction.result.boxes_xyxy, strict=True)
    }
    assert found == {"red": [0, 0, 32, 32], "blue": [32, 32, 64, 64]}


async def test_images_answered_together_are_answered_as_alone(tmp_path: Path) -> None:
    uploads = [encode_image(plain(colour)) for colour in ("red", "green", "blue", "white")]
    async with deployed(write_classifier(tmp_path), settings_for(tmp_path, max_batch_size=4)) as deployment:
        alone = [await deployment.predict(Job(upload, TOP)) for upload in uploads]
        together = await asyncio.gather(*(deployment.predict(Job(upload, TOP)) for upload in uploads))
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one.result, Classification)
        assert isinstance(other.result, Classification)
        assert one.result.class_ids.tolist() == other.result.class_ids.tolist()
        np.testing.assert_allclose(one.result.scores, other.result.scores, atol=1e-6)


async def test_the_picture_comes_back_with_its_boxes_drawn(tmp_path: Path) -> None:
    upload = encode_image(quadrants("red", "white", "black", "blue", side=64))
    async with deployed(write_detector(tmp_path)) as deployment:
        prediction = await deployment.predict(Job(upload, DetectParameters()))
        assert isinstance(prediction.result, Detections)
        drawn = await deployment.draw(upload, prediction.result, "image/png", None)
    assert drawn.startswith(b"\x89PNG")
    assert drawn != upload


async def test_a_model_that_fails_its_self_test_is_not_deployed(tmp_path: Path) -> None:
    with pytest.raises(SelfTestFailed):
        async with deployed(write_classifier(tmp_path, golden_shift=0.5)):
            pass
