"""Detection data from disk, in any supported layout."""

import contextlib
from pathlib import Path

from emo.data.boxes import BoxedImages
from emo.data.coco import find_coco, read_coco
from emo.data.voc import find_voc, read_voc
from emo.data.yolo import find_yolo, read_yolo


def find_detection(root: Path, split: str) -> BoxedImages:
    """The split ``train`` or ``val`` of ``root``: COCO's JSON, YOLO's label files or Pascal VOC's XML.

    Searched in this order, see ``find_coco``, ``find_yolo`` and ``find_voc``. Raise FileNotFoundError if there is none
    of them, ValueError, which names the file, if it is broken.
    """
    try:
        annotations, images = find_coco(root, split)
    except FileNotFoundError as error:
        if yolo := find_yolo(root):
            return read_yolo(yolo, split)
        if voc := find_voc(root):
            return read_voc(voc, split)
        msg = f"{error} (COCO), nor data.yaml or labels/ (YOLO), nor Annotations/*.xml (Pascal VOC)"
        raise FileNotFoundError(msg) from error
    others = []
    with contextlib.suppress(FileNotFoundError):
        others.append(find_coco(root, "val" if split == "train" else "train").annotations)
    return read_coco(annotations, images, tuple(others))
