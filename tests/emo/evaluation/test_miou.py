"""Intersection over union by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from emo.evaluation.answers import Answer, of_result
from emo.evaluation.miou import class_map, read_mapped
from emo_serve.vision.results import ImageSize, Segmentation
from emo_serve.vision.rle import regions_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
NAMES = ("wall", "sky", "tree")
UNLABELLED = 0


def answer(rows: list[list[int]]) -> Answer:
    found = np.array(rows, np.uint8)
    size = ImageSize(found.shape[1], found.shape[0])
    return of_result(Segmentation(size, found, regions_of(found, size)))


def write_ade20k(root: Path, maps: list[NDArray[np.uint8]]) -> None:
    for folder in ("images", "annotations"):
        (root / folder / "validation").mkdir(parents=True, exist_ok=True)
    for k, values in enumerate(maps):
        Image.fromarray(np.zeros((*values.shape, 3), np.uint8)).save(root / "images" / "validation" / f"{k}.jpg")
        Image.fromarray(values).save(root / "annotations" / "validation" / f"{k}.png")


def test_pixels_of_all_pictures_are_summed_before_the_mean_over_the_classes_that_there_are(tmp_path: Path) -> None:
    write_ade20k(tmp_path, [np.array([[1, 1, 2, UNLABELLED]], np.uint8), np.array([[1, 2, 2, 2]], np.uint8)])
    figures = read_mapped(tmp_path).figures([answer([[0, 1, 1, 2]]), answer([[0, 1, 1, 0]])], NAMES)
    assert figures == pytest.approx(
        {
            "miou": (2 / 4 + 3 / 5) / 2,  # the tree is neither there nor found where it counts
            "mean_accuracy": (2 / 3 + 3 / 4) / 2,
            "pixel_accuracy": 5 / 7,
            "iou wall": 2 / 4,
            "iou sky": 3 / 5,
        }
    )


def test_a_class_that_is_only_found_wrongly_counts_as_nothing(tmp_path: Path) -> None:
    write_ade20k(tmp_path, [np.array([[1, 1, 2, 2]], np.uint8)])
    figures = read_mapped(tmp_path).figures([answer([[0, 0, 1, 2]])], NAMES)
    assert figures["miou"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert figures["mean_accuracy"] == pytest.approx((1 + 1 / 2) / 2)


def test_pascal_voc_counts_the_background_and_leaves_its_edges_out(tmp_path: Path) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_1\n")
    Image.new("RGB", (4, 1)).save(tmp_path / "JPEGImages" / "2007_1.jpg")
    page = Image.fromarray(np.array([[0, 0, 1, 255]], np.uint8))
    page.putpalette(bytes(range(256)) * 3)
    page.save(tmp_path / "SegmentationClass" / "2007_1.png")
    figures = read_mapped(tmp_path).figures([answer([[0, 1, 1, 0]])], ("background", "aeroplane"))
    assert figures["miou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert figures["pixel_accuracy"] == pytest.approx(2 / 3)


def test_areas_give_the_map_that_they_were_made_of() -> None:
    found = np.random.default_rng(0).integers(0, 5, (37, 53), np.uint8)
    assert (class_map(answer(found.tolist())) == found).all()


def test_maps_that_do_not_fit_are_errors_that_name_the_file(tmp_path: Path) -> None:
    write_ade20k(tmp_path, [np.array([[1, 4]], np.uint8)])
    truth = read_mapped(tmp_path)
    with pytest.raises(ValueError, match=r"0\.png holds the value 4; the model has 3 classes, from 1 on"):
        truth.figures([answer([[0, 1]])], NAMES)
    with pytest.raises(ValueError, match=r"images/validation/0\.jpg has \(2, 1\) rows and columns"):
        truth.figures([answer([[0], [1]])], (*NAMES, "sea"))
    Image.new("RGB", (2, 1)).save(truth.maps[0])
    with pytest.raises(ValueError, match=r"0\.png: a map has one number a pixel"):
        truth.figures([answer([[0, 1]])], NAMES)
