"""Run lengths: what we write, pycocotools reads."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask

from emo_serve.vision.results import ImageSize, Region
from emo_serve.vision.rle import class_map_of, compressed, decompressed, regions_of
from emo_serve.vision.segment import enlarged


def blobs(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    waves: NDArray[np.uint8] = ((np.sin(x / 9) + np.cos(y / 7) + 2) * 1.9).astype(np.uint8)
    return waves


def size_of(class_map: NDArray[np.uint8]) -> ImageSize:
    return ImageSize(class_map.shape[1], class_map.shape[0])


MAPS: dict[str, NDArray[np.uint8]] = {
    "one class": np.full((5, 3), 7, np.uint8),
    "one pixel": np.zeros((1, 1), np.uint8),
    "a corner": np.array([[0, 1], [1, 1]], np.uint8),
    "columns": np.tile(np.arange(4, dtype=np.uint8), (6, 1)),
    "blobs": blobs(120, 211),
    "noise of all classes": np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8),
    "long runs": np.array([[3, 200], [200, 3]], np.uint8).repeat(900, 0).repeat(800, 1),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("name", MAPS)
def test_pycocotools_reads_the_very_pixels_of_each_class(name: str) -> None:
    class_map = MAPS[name]
    regions = regions_of(class_map, size_of(class_map))
    assert {region.class_id for region in regions} == set(np.unique(class_map).tolist())
    for region in regions:
        rle = {"size": list(class_map.shape), "counts": region.counts}
        np.testing.assert_array_equal(mask.decode(rle), class_map == region.class_id)
        assert region.pixels == mask.area(rle) == (class_map == region.class_id).sum()


@pytest.mark.parametrize("name", MAPS)
def test_the_text_is_the_one_that_pycocotools_writes(name: str) -> None:
    class_map = MAPS[name]
    for region in regions_of(class_map, size_of(class_map)):
        wanted = mask.encode(np.asfortranarray(class_map == region.class_id, np.uint8))["counts"]
        assert region.counts == wanted.decode()


@pytest.mark.parametrize("name", MAPS)
def test_what_is_written_is_read_again(name: str) -> None:
    class_map = MAPS[name]
    regions = regions_of(class_map, size_of(class_map))
    np.testing.assert_array_equal(class_map_of(regions, size_of(class_map)), class_map)


def test_what_pycocotools_writes_is_read() -> None:
    numbers = [0, 1, 50_000_000, 16, 1, 0, 49_999_999, 31]
    assert decompressed(compressed(np.array(numbers))).tolist() == numbers
    for name, class_map in MAPS.items():
        written = mask.encode(np.asfortranarray(class_map == class_map[0, 0], np.uint8))["counts"].decode()
        wanted = np.where(class_map == class_map[0, 0], 1, 0)
        region = Region(1, int(wanted.sum()), written)
        np.testing.assert_array_equal(class_map_of([region], size_of(class_map)), wanted, name)


@pytest.mark.parametrize("text", ["", "!", "o", "0o", "é", "04", "0" * 50, "\x7f", "0O"])
def test_text_that_is_no_run_lengths_of_the_image_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"run lengths|codec"):
        class_map_of([Region(1, 3, text)], ImageSize(3, 1))


def test_the_largest_region_comes_first_and_of_equals_the_lower_class_id() -> None:
    class_map = np.array([[2, 2, 2, 0, 1, 1, 4, 4]], np.uint8)
    assert [region.class_id for region in regions_of(class_map, size_of(class_map))] == [2, 1, 4, 0]


def test_numbers_of_any_size_and_sign_are_written() -> None:
    counts = np.array([0, 1, 50_000_000, 16, 1, 0, 49_999_999, 31])
    assert compressed(counts).isascii()
    assert compressed(np.array([0, 2])) == "02"


@pytest.mark.parametrize("size", [(211, 120), (212, 121), (500, 300), (633, 240), (1000, 1)])
@pytest.mark.parametrize("name", ["blobs", "columns", "noise of all classes"])
def test_a_smaller_map_counts_as_if_it_had_been_enlarged(name: str, size: tuple[int, int]) -> None:
    class_map, image = MAPS[name][: size[1], : size[0]], ImageSize(*size)
    assert regions_of(class_map, image) == regions_of(enlarged(class_map, image), image)
