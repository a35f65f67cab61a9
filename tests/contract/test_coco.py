"""``format=coco`` is what pycocotools reads."""

import contextlib
import io
from typing import Any

import httpx
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from emo_serve.api.wire.schemas import CocoResult
from tests.support import encode_image, quadrants

LABELS = ("red", "green", "blue")


def ground_truth() -> dict[str, Any]:
    """Two images of 64x64: red, green, blue quadrants and a white one; then one red quadrant."""
    found = [(0, 0, [0, 0, 32, 32]), (0, 1, [32, 0, 32, 32]), (0, 2, [0, 32, 32, 32]), (1, 0, [32, 32, 32, 32])]
    return {
        "images": [{"id": position, "width": 64, "height": 64} for position in range(2)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(LABELS)],
        "annotations": [
            {"id": n + 1, "image_id": image, "category_id": label, "bbox": box, "area": 1024, "iscrowd": 0}
            for n, (image, label, box) in enumerate(found)
        ],
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pycocotools_loads_the_answer_and_finds_it_right(client: httpx.Client) -> None:
    images = [("red", "green", "blue", "white"), ("black", "black", "black", "red")]
    files = [("file", ("x.png", encode_image(quadrants(*colours, side=64)))) for colours in images]
    results = client.post("/detect", params={"format": "coco"}, files=files).json()
    assert all(CocoResult.model_validate(entry) for entry in results)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth()
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_one_image_is_a_flat_list_of_position_zero(client: httpx.Client) -> None:
    body = encode_image(quadrants("red", "black", "black", "black", side=64))
    response = client.post("/detect", params={"format": "coco"}, content=body, headers={"content-type": "image/png"})
    (result,) = map(CocoResult.model_validate, response.json())
    assert (result.image_id, result.category_id, result.bbox) == (0, 0, (0, 0, 32, 32))
