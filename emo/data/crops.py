"""Crops of a COCO data set: its boxes cut out as pictures for classification."""

from pathlib import Path

from PIL import Image
from tqdm import tqdm

from emo.data.boxes import IGNORED, BoxedImages
from emo.data.pictures import open_upright


def cut_boxes(data: BoxedImages, side: int, target: Path) -> int:
    """Write each box, grown to a square with a tenth of context, as ``target/<name>/<picture>_<k>.jpg``.

    Returns the number of files written. Boxes under 16 pixels are skipped as too coarse. Existing files are kept, so
    that a second call resumes.
    """
    written = 0
    for image in tqdm(data.learnable().images, "cut", unit="img", mininterval=2):
        picture = open_upright(image.path)
        for k, (box, label) in enumerate(zip(image.boxes_xyxy, image.targets, strict=True)):
            if label == IGNORED:
                continue
            path = target / data.names[label] / f"{image.path.stem}_{k}.jpg"
            x1, y1, x2, y2 = (float(value) for value in box)
            half = max(x2 - x1, y2 - y1) * 0.55
            if half < 8 or path.exists():
                continue
            centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
            square = (
                max(centre_x - half, 0.0),
                max(centre_y - half, 0.0),
                min(centre_x + half, picture.width),
                min(centre_y + half, picture.height),
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((side, side), Image.Resampling.BICUBIC, box=square).save(path, quality=92)
            written += 1
    return written
