from pathlib import Path

from emo.cut import cut_boxes
from emo.data.coco import read_coco
from tests.emo.datasets import write_coco


def test_boxes_are_cut_out_once(tmp_path: Path) -> None:
    data = read_coco(write_coco(tmp_path) / "instances_train.json", tmp_path)
    assert cut_boxes(data, 48, tmp_path / "cut") == 4
    assert cut_boxes(data, 48, tmp_path / "cut") == 0
    assert len(list((tmp_path / "cut" / "red box").iterdir())) == 2
