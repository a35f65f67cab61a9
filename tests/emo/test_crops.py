import json
from pathlib import Path

from emo.data.coco import read_coco
from emo.data.crops import cut_boxes
from tests.emo.datasets import write_coco


def test_boxes_are_cut_out_once(tmp_path: Path) -> None:
    data = read_coco(write_coco(tmp_path) / "instances_train.json", tmp_path)
    assert cut_boxes(data, 48, tmp_path / "cut") == 4
    assert cut_boxes(data, 48, tmp_path / "cut") == 0
    assert len(list((tmp_path / "cut" / "red box").iterdir())) == 2


def test_crowds_are_no_objects_to_cut_out(tmp_path: Path) -> None:
    annotations = write_coco(tmp_path) / "instances_train.json"
    content = json.loads(annotations.read_text())
    content["annotations"][0]["iscrowd"] = 1
    annotations.write_text(json.dumps(content))
    assert cut_boxes(read_coco(annotations, tmp_path), 48, tmp_path / "cut") == 3
