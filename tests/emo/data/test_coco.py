import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emo.data.boxes import BoxedImages
from emo.data.coco import find_coco, read_coco
from emo.data.detection import find_detection
from emo.evaluation.answers import Answer
from emo.evaluation.coco import coco_figures
from emo.evaluation.ground_truth import read_ground_truth
from emo.training.detection import DetectionTask
from tests.emo.datasets import write_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
Content = dict[str, Any]
TURNED = (
    r"2 pictures cannot be used.*1\.jpg has 64 x 96 pixels, its boxes are for 96 x 64, which it has before it is turned"
    r".*exiftool.*2\.tif"
)


def changed(root: Path, change: Callable[[Content], object], split: str = "val") -> Path:
    """The data set with other words in one of its JSONs."""
    path = root / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return root


def every(key: str, change: dict[str, Any], *left_out: str) -> Callable[[Content], None]:
    def apply(content: Content) -> None:
        for entry in content[key]:
            entry.update(change)
            for name in left_out:
                del entry[name]

    return apply


def perfect(data: BoxedImages) -> list[Answer]:
    return [
        Answer(image.labels.tolist(), [0.9] * len(image.labels), image.boxes_xyxy.tolist()) for image in data.images
    ]


def test_coco_categories_become_labels_in_the_order_of_their_ids(tmp_path: Path) -> None:
    data = read_coco(write_coco(tmp_path) / "instances_train.json", tmp_path)
    assert data.names == ("red box", "blue box")
    assert data.images[1].boxes_xyxy.tolist() == [[11, 8, 61, 50]]
    assert data.images[1].labels.tolist() == [1]


def test_the_layout_of_coco_itself_is_found(tmp_path: Path) -> None:
    plain = write_coco(tmp_path / "plain")
    assert find_coco(plain, "val") == (plain / "instances_val.json", plain)
    (tmp_path / "annotations").mkdir()
    (plain / "instances_val.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    assert find_coco(tmp_path, "val") == (tmp_path / "annotations" / "instances_val2017.json", tmp_path / "val2017")
    with pytest.raises(FileNotFoundError, match=r"neither instances_train\.json nor annotations/instances_train<year>"):
        find_coco(tmp_path, "train")
    (tmp_path / "annotations" / "instances_val2014.json").touch()
    with pytest.raises(ValueError, match="several"):
        find_coco(tmp_path, "val")


def test_other_names_of_val_and_other_places_of_the_pictures_are_found(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    (root / "instances_val.json").rename(root / "instances_valid.json")
    assert find_coco(root, "val").annotations.name == "instances_valid.json"
    (root / "annotations").mkdir()
    (root / "images" / "val2017").mkdir(parents=True)
    (root / "instances_valid.json").rename(root / "annotations" / "instances_val2017.json")
    assert find_coco(root, "val").images == root / "images" / "val2017"


def test_the_layout_of_roboflow_is_found(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    (root / "val").rename(root / "valid")
    for split, folder in (("train", "train"), ("val", "valid")):
        changed(
            root,
            lambda content: [entry.update(file_name=entry["file_name"][-5:]) for entry in content["images"]],
            split,
        )
        (root / f"instances_{split}.json").rename(root / folder / "_annotations.coco.json")
    assert find_coco(root, "val") == (root / "valid" / "_annotations.coco.json", root / "valid")
    assert len(DetectionTask.load(root).validation.images) == 4


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: [entry.update(id=number) for number, entry in enumerate(content["annotations"])],
        every("annotations", {"id": 0}),
        every("annotations", {"id": 7}),
        every("annotations", {"id": "7"}),
        every("annotations", {"id": None}),
        every("annotations", {}, "id"),
        every("annotations", {}, "iscrowd"),
        every("annotations", {}, "area"),
        every("annotations", {"area": None}),
        every("annotations", {"area": 0}),
        every("annotations", {"area": -1}),
        every("annotations", {"area": float("nan")}),
        every("annotations", {"area": "big"}),
        every("annotations", {"area": 10**400}),
        every("annotations", {"iscrowd": None}),
        every("annotations", {"iscrowd": "0"}),
        every("annotations", {"iscrowd": False}),
    ],
)
def test_a_perfect_detector_is_found_perfect_whatever_ids_and_side_fields_the_annotations_have(
    change: Callable[[Content], object], first: int, tmp_path: Path
) -> None:
    root = changed(write_coco(tmp_path), change)
    changed(root, lambda content: [entry.update(id=entry["id"] - 1 + first) for entry in content["images"]])
    changed(
        root, lambda content: [entry.update(image_id=entry["image_id"] - 1 + first) for entry in content["annotations"]]
    )
    data = find_detection(root, "val")
    assert coco_figures(data, perfect(data))["ap"] == 1.0


def test_ids_may_be_text_and_text_of_a_number_is_that_number(tmp_path: Path) -> None:
    def spell(content: Content) -> None:
        for image in content["images"]:
            image["id"] = f"picture {image['id']}"
        for box in content["annotations"]:
            box["image_id"] = f"picture {box['image_id']}"
            box["category_id"] = str(box["category_id"])

    data = find_detection(changed(write_coco(tmp_path), spell), "val")
    assert [image.image_id for image in data.images] == [1, 2, 3, 4]
    assert [image.labels.tolist() for image in data.images] == [[0], [1], [0], [1]]
    assert coco_figures(data, perfect(data))["ap"] == 1.0


@pytest.mark.parametrize("spelled", [int, str])
def test_ids_that_are_made_of_digests_are_not_rounded(spelled: Callable[[int], object], tmp_path: Path) -> None:
    def spell(content: Content) -> None:
        for image in content["images"]:
            image["id"] = 2**63 + image["id"]
        for box in content["annotations"]:
            box["image_id"] = spelled(2**63 + box["image_id"])

    data = find_detection(changed(write_coco(tmp_path), spell), "val")
    assert [image.labels.tolist() for image in data.images] == [[0], [1], [0], [1]]


def test_text_ids_of_categories_have_the_order_of_the_alphabet_after_numbers(tmp_path: Path) -> None:
    def spell(content: Content) -> None:
        content["categories"] = [
            {"id": "b", "name": "blue box"},
            {"id": "a", "name": "red box"},
            {"id": 10, "name": "x"},
        ]
        for box in content["annotations"]:
            box["category_id"] = {3: "a", 7: "b"}[box["category_id"]]

    data = find_detection(changed(write_coco(tmp_path), spell), "val")
    assert data.names == ("x", "red box", "blue box")
    assert data.images[0].labels.tolist() == [1]


def test_crowds_are_neither_learned_nor_have_to_be_found(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    for split in ("train", "val"):
        changed(root, lambda content: content["annotations"][0].update(iscrowd=1), split)
    task = DetectionTask.load(root)
    assert [image.crowds.tolist() for image in task.training.images] == [[True], [False], [False], [False]]
    answers = perfect(task.validation)
    answers[0] = Answer([], [], [])
    assert coco_figures(task.validation, answers)["ap"] == 1.0


@pytest.mark.parametrize("empty", [[], "crowds"])
def test_a_split_without_objects_is_refused_before_anything_is_measured(empty: object, tmp_path: Path) -> None:
    change = every("annotations", {"iscrowd": 1}) if empty else lambda content: content.update(annotations=[])
    root = changed(write_coco(tmp_path), change)
    for read in (DetectionTask.load, lambda root: read_ground_truth("detect", root)):
        with pytest.raises(ValueError, match=r"instances_val\.json: there are no objects to measure with"):
            read(root)


def test_the_empty_root_of_the_categories_is_no_class(tmp_path: Path) -> None:
    def add_root(content: Content) -> None:
        content["categories"] = [
            {"id": 0, "name": "boxes", "supercategory": "none"},
            *({**category, "supercategory": "boxes"} for category in content["categories"]),
        ]

    root = write_coco(tmp_path)
    for split in ("train", "val"):
        changed(root, add_root, split)
    assert DetectionTask.load(root).names == ("red box", "blue box")
    assert read_ground_truth("detect", root).names == ("red box", "blue box")
    changed(root, lambda content: content["annotations"][0].update(category_id=0), "train")
    assert DetectionTask.load(root).names == ("boxes", "red box", "blue box")  # it has an object in one of the splits


def test_a_class_may_be_called_as_the_root_is_or_as_its_own_supercategory(tmp_path: Path) -> None:
    def add_root(content: Content) -> None:
        content["categories"] = [
            {"id": 0, "name": "red box", "supercategory": "none"},
            {"id": 3, "name": "red box", "supercategory": "red box"},
            {"id": 7, "name": "blue box", "supercategory": "red box"},
            {"id": 9, "name": "person", "supercategory": "person"},
        ]

    data = find_detection(changed(write_coco(tmp_path), add_root), "val")
    assert data.names == ("red box", "blue box", "person")


def test_names_are_the_same_however_their_letters_are_composed(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    for split, name in (("train", "ro\u0308t"), ("val", "r\xf6t")):
        changed(root, lambda content, name=name: content["categories"][1].update(name=name), split)  # type: ignore[misc]
    assert DetectionTask.load(root).names == ("r\xf6t", "blue box")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_mark_before_the_json_does_not_matter(encoding: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path) / "instances_val.json"
    path.write_text(path.read_text(), encoding=encoding)
    assert len(find_detection(tmp_path, "val").images) == 4


def test_file_names_of_windows_and_of_folders_below_are_found(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    changed(
        root,
        lambda content: [entry.update(file_name=entry["file_name"].replace("/", "\\")) for entry in content["images"]],
    )
    assert [image.path for image in find_detection(root, "val").images] == [root / "val" / f"{k}.png" for k in range(4)]


def test_a_picture_outside_of_the_folder_can_be_measured(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data")
    (root / "val" / "0.png").rename(tmp_path / "0.png")
    changed(root, lambda content: content["images"][0].update(file_name=str(tmp_path / "0.png")))
    assert read_ground_truth("detect", root).pictures[0].path == tmp_path / "0.png"


def test_a_size_from_before_the_exif_turn_is_named_with_what_to_do(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("1.jpg", "2.tif"):
        Image.new("RGB", (96, 64)).save(root / "val" / name, exif=exif)
        changed(root, lambda content, name=name: content["images"][int(name[0])].update(file_name=f"val/{name}"))  # type: ignore[misc]
    for read in (DetectionTask.load, lambda root: read_ground_truth("detect", root)):
        with pytest.raises(
            ValueError,
            match=TURNED,
        ) as caught:
            read(root)
        assert "0.png" not in str(caught.value)
    changed(root, lambda content: [content["images"][k].update(width=64, height=96) for k in (1, 2)])
    assert len(read_ground_truth("detect", root).pictures) == 4


@pytest.mark.parametrize(("x", "y"), [(97, 8), (8, 65), (-60, 8), (8, -60)])
def test_boxes_for_a_larger_picture_than_there_is_are_named_where_no_size_is_stated(
    x: int, y: int, tmp_path: Path
) -> None:
    root = changed(write_coco(tmp_path), every("images", {}, "width", "height"))
    changed(root, lambda content: content["annotations"][2].update(bbox=[x, y, 50, 42]))
    for read in (DetectionTask.load, lambda root: read_ground_truth("detect", root)):
        with pytest.raises(
            ValueError, match=r"1 pictures .*2\.png has 96 x 64 pixels, and the box from .* lies outside"
        ):
            read(root)


def test_boxes_that_reach_over_an_edge_are_no_fault(tmp_path: Path) -> None:
    root = changed(write_coco(tmp_path), lambda content: content["annotations"][0].update(bbox=[-5, -5, 200, 200]))
    assert len(read_ground_truth("detect", root).pictures) == 4


@pytest.mark.parametrize(
    "size", [{"width": None}, {"width": 0, "height": 0}, {"width": "96", "height": "64"}, {"width": 96.0}]
)
def test_a_size_may_be_missing_or_spelled_otherwise(size: Content, tmp_path: Path) -> None:
    assert len(read_ground_truth("detect", changed(write_coco(tmp_path), every("images", size))).pictures) == 4
