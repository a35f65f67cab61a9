"""Run-length encoding of masks in COCO's format, as pycocotools reads and writes it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import ImageSize, Region

_DIGIT_BITS = 5
_SIGN, _MORE, _FIRST_CHARACTER = 0x10, 0x20, 48


def regions_of(class_map: NDArray[np.uint8], image: ImageSize) -> tuple[Region, ...]:
    """The region of each class in the image, the largest first; of two of equal size the lower class id.

    Each pixel of a map (h, w) smaller than the image stands for as many as ``enlarged`` makes of it.
    """
    class_ids, starts = _runs(class_map, image)
    ends = np.append(starts[1:], image.width * image.height)
    regions = []
    for class_id in np.unique(class_ids):
        own = class_ids == class_id
        edges = np.stack((starts[own], ends[own]), axis=1).ravel()
        counts = np.diff(edges, prepend=0)  # starts with pixels of other classes, possibly 0
        pixels = int(counts[1::2].sum())
        if edges[-1] < ends[-1]:
            counts = np.append(counts, ends[-1] - edges[-1])
        regions.append(Region(int(class_id), pixels, compressed(counts)))
    return tuple(sorted(regions, key=lambda region: (-region.pixels, region.class_id)))


def _runs(class_map: NDArray[np.uint8], image: ImageSize) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The class id of each run of the image's pixels, down its columns as in COCO, and its start.

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
    class_ids = class_map[rows[picked], columns[picked]]
    starts = np.repeat(np.arange(image.width) * image.height, lengths) + first_rows[rows[picked]]
    goes_on = np.append(False, class_ids[1:] == class_ids[:-1])  # from the end of a column to the start of the next
    return class_ids[~goes_on], starts[~goes_on]


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


def class_map_of(regions: Iterable[Region], image: ImageSize) -> NDArray[np.uint8]:
    """The class id (height, width) of each pixel, 0 where no region is; raises ValueError for bad counts."""
    pixels = np.zeros(image.width * image.height, np.uint8)  # down the columns
    for region in regions:
        counts = decompressed(region.counts)
        if (counts < 0).any() or counts.sum() != len(pixels):
            msg = f"run lengths that do not fill {image.width}x{image.height} pixels"
            raise ValueError(msg)
        pixels[np.repeat(np.arange(len(counts)) % 2 == 1, counts)] = region.class_id
    return pixels.reshape(image.width, image.height).T


def decompressed(text: str) -> NDArray[np.int64]:
    """The run lengths (K,) that ``compressed`` has written; raises ValueError for what cannot be such text."""
    characters = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    is_text = len(characters) > 0 and characters.min() >= 0 and characters.max() < 2 * _MORE
    if not is_text or characters[-1] & _MORE:
        msg = "text that is no run lengths"
        raise ValueError(msg)
    ends = np.flatnonzero((characters & _MORE) == 0)
    starts = np.append(0, ends[:-1] + 1)
    shifts = _DIGIT_BITS * (np.arange(len(characters)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((characters & (2**_DIGIT_BITS - 1)) << shifts, starts)
    numbers -= np.where(characters[ends] & _SIGN, 1 << (shifts[ends] + _DIGIT_BITS), 0)
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers
