"""Run-length encoding of masks in COCO's format, as pycocotools reads it."""

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import ImageSize, Region

_DIGIT_BITS = 5
_SIGN, _MORE, _FIRST_CHARACTER = 0x10, 0x20, 48


def regions_of(class_map: NDArray[np.uint8], image: ImageSize) -> tuple[Region, ...]:
    """The region of each label in the image, the largest first; of two of equal size the lower label.

    Each pixel of a map (h, w) smaller than the image stands for as many as ``enlarged`` makes of it.
    """
    labels, starts = _runs(class_map, image)
    ends = np.append(starts[1:], image.width * image.height)
    regions = []
    for label in np.unique(labels):
        own = labels == label
        edges = np.stack((starts[own], ends[own]), axis=1).ravel()
        counts = np.diff(edges, prepend=0)  # starts with pixels of other labels, possibly 0
        pixels = int(counts[1::2].sum())
        if edges[-1] < ends[-1]:
            counts = np.append(counts, ends[-1] - edges[-1])
        regions.append(Region(int(label), pixels, compressed(counts)))
    return tuple(sorted(regions, key=lambda region: (-region.pixels, region.label)))


def _runs(class_map: NDArray[np.uint8], image: ImageSize) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The label of each run of the image's pixels, down its columns as in COCO, and its start.

    The work is proportional to the runs, not to the pixels, which may be many more.
    """
    height, width = class_map.shape
    begins = np.ones((width, height), np.bool_)
    begins[:, 1:] = (class_map[1:] != class_map[:-1]).T
    columns, rows = np.nonzero(begins)
    first_rows = -(-np.arange(height) * image.height // height)  # row of the image for each row of the map
    first_run = np.searchsorted(columns, np.arange(width + 1))
    shown = np.arange(image.width) * width // image.width  # column of the map for each column of the image
    lengths = (first_run[1:] - first_run[:-1])[shown]
    ends = np.cumsum(lengths)
    picked = np.arange(ends[-1]) + np.repeat(first_run[shown] - ends + lengths, lengths)
    labels = class_map[rows[picked], columns[picked]]
    starts = np.repeat(np.arange(image.width) * image.height, lengths) + first_rows[rows[picked]]
    goes_on = np.append(False, labels[1:] == labels[:-1])  # from the end of a column to the start of the next
    return labels[~goes_on], starts[~goes_on]


def compressed(counts: NDArray[np.int64]) -> str:
    """COCO's text for run lengths (K,).

    From the fourth on a count is stored as its difference to the one two before; each number in characters of five
    bits, the lowest first, a sixth bit means that more follow; the last one's highest bit is the sign.
    """
    numbers = counts.astype(np.int64)
    numbers[3:] -= counts[1:-2]
    columns, masks = [], []
    goes_on = np.ones(len(numbers), dtype=np.bool_)
    while goes_on.any():
        digits = numbers & (2**_DIGIT_BITS - 1)
        numbers >>= _DIGIT_BITS
        masks.append(goes_on)
        more = numbers != np.where(digits & _SIGN, -1, 0)
        columns.append((digits + _MORE * more + _FIRST_CHARACTER).astype(np.uint8))
        goes_on = goes_on & more
    return np.stack(columns, axis=1)[np.stack(masks, axis=1)].tobytes().decode("ascii")
