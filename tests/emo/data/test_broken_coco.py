"""Files that are not of COCO, each with what is said about it."""

import json
from pathlib import Path

import pytest

from emo.data.coco import read_coco


def content(images: object = None, annotations: object = None, categories: object = None) -> str:
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg"}] if images is None else images,
            "annotations": [] if annotations is None else annotations,
            "categories": [{"id": 1, "name": "a"}] if categories is None else categories,
        }
    )


def box(**changes: object) -> str:
    return content(annotations=[{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], **changes}])


BROKEN = {
    "[1]": "holds a list",
    '[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]': "holds a list",
    "{": "no COCO JSON",
    "[" * 100_000: "no COCO JSON",
    "\xff": "no COCO JSON",
    '{"shapes": [], "imagePath": "a.jpg"}': "labelme",
    '{"images": [], "annotations": []}': "'categories' is missing",
    '{"images": [], "categories": []}': "'annotations' is missing",
    '{"images": {}, "annotations": [], "categories": []}': "'images' is no list of objects",
    content(annotations=[[1]]): "'annotations' is no list of objects",
    content(images=[{"id": 1}]): "'file_name' is missing",
    content(images=[{"file_name": "a"}]): "'id' is missing",
    content(images=[{"id": 1, "file_name": 7}]): "file_name of image 1 is 7",
    content(images=[{"id": None, "file_name": "a"}]): "an id is None",
    content(images=[{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}]): "image id 1 is there twice",
    content(images=[{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]): "picture 'a' is there twice",
    content(images=[{"id": 1, "file_name": "a", "width": -5, "height": 5}]): "image 1 has -5 x 5 pixels",
    content(images=[{"id": 1, "file_name": "a", "width": "wide", "height": 5}]): "a side of image 1 is 'wide'",
    content(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]): "category id 1 is there twice",
    content(
        categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]
    ): "'a' cannot be a class name: it is there twice",
    content(
        categories=[{"id": 1, "name": "a\u0308"}, {"id": 2, "name": "\xe4"}]
    ): "cannot be a class name: it is there twice",
    content(categories=[{"id": 1, "name": " "}]): "cannot be a class name: it is empty",
    content(categories=[{"id": 1, "name": 5}]): "is called 5",
    content(categories=[{"id": 1}]): "'name' is missing",
    box(bbox=[1]): r"annotation 5 has the bbox \[1\], wanted are x, y, width and height",
    box(bbox=[]): "wanted are x, y, width and height",
    box(bbox=None, segmentation=[[1, 1, 2, 2, 3, 1]]): "its segmentation is not looked at",
    box(bbox=[1, 1, -5, 5]): "a bbox of -5 x 5 pixels",
    box(bbox=[1, 1, float("nan"), 5]): "in the bbox of annotation 5 a value is nan",
    box(bbox=[1, 1, float("inf"), 5]): "is inf",
    box(bbox=[1, 1, "5", 5]): "is '5', wanted is a number",
    box(bbox=[1, 1, None, 5]): "is None",
    box(bbox=[1, 1, 10**400, 5]): "a value is 10000",
    box(bbox=[0.1, 0.1, 0.5, 0.5]): "may be fractions",
    box(image_id=7): "annotation 5 is of image 7, which is not described",
    box(image_id=None): "an id is None",
    box(image_id=1.5): "an id is 1.5",
    box(category_id=7): "annotation 5 is of category 7, which is not described",
    box(category_id=10**400): "which is not described",
    box(category_id=[1]): r"an id is \[1\]",
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_json_that_is_not_of_coco_is_named_with_what_is_wrong(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "instances_val.json").write_text(content, encoding="latin-1" if content == "\xff" else "utf-8")
    with pytest.raises(ValueError, match=rf"instances_val\.json: .*{reason}"):
        read_coco(tmp_path / "instances_val.json", tmp_path)
