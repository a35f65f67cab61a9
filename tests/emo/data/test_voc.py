import re
from pathlib import Path

import pytest
from PIL import Image

from emo.data.boxes import BoxedImages
from emo.data.detection import find_detection
from emo.evaluation.answers import Answer
from emo.evaluation.coco import coco_figures
from emo.evaluation.ground_truth import read_ground_truth
from emo.training.detection import DetectionTask
from tests.emo.datasets import COLOURS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
OBJECT = """
  <object><name>{name}</name><difficult>0</difficult>
    <bndbox><xmin>{x1}</xmin><ymin>9</ymin><xmax>{x2}.0</xmax><ymax>50</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
  </object>"""


def write(pictures: Path, annotations: Path, numbers: range) -> list[str]:
    """Pictures 96 x 64 with a red or blue rectangle at 10 + k, 8, 50 wide and 42 high, and its XML."""
    for folder in (pictures, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    for k in numbers:
        canvas = Image.new("RGB", (96, 64), (120, 120, 120))
        canvas.paste(COLOURS[("red", "blue")[k % 2]], (10 + k, 8, 60 + k, 50))
        canvas.save(pictures / f"photo {k}.jpg")
        name = f"{('red', 'blue')[k % 2]} box"
        (annotations / f"photo {k}.xml").write_text(
            f"<annotation><folder>x</folder><filename>photo {k}.jpg</filename><path>C:\\x\\photo {k}.jpg</path>"
            "<size><width>96</width><height>64</height><depth>3</depth></size>"
            f"{OBJECT.format(name=name, x1=11 + k, x2=60 + k)}</annotation>"
        )
    return [f"photo {k}" for k in numbers]


def write_voc(root: Path, lists: dict[str, range] | None = None) -> Path:
    write(root / "JPEGImages", root / "Annotations", range(10))
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name, numbers in (lists or {}).items():
        (main / f"{name}.txt").write_text("".join(f"photo {k}\n" for k in numbers))
    return root


def numbers(data: BoxedImages) -> list[int]:
    return [int(image.path.stem.split()[1]) for image in data.images]


def test_the_lists_say_which_pictures_are_of_which_split_and_corners_count_from_one(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": range(6), "val": range(6, 9), "test": range(9, 10), "trainval": range(9)})
    training, validation = find_detection(root, "train"), find_detection(root, "val")
    assert (numbers(training), numbers(validation)) == ([0, 1, 2, 3, 4, 5], [6, 7, 8])
    assert training.names == validation.names == ("blue box", "red box")
    assert training.images[3].boxes_xyxy.tolist() == [[13, 8, 63, 50]]
    assert [image.labels.tolist() for image in training.images[:2]] == [[1], [0]]
    assert len(read_ground_truth("detect", root).pictures) == 3


VOC = "<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>"
LABELIMG = "<path>/x/photo.jpg</path><source><database>Unknown</database></source>"


@pytest.mark.parametrize(
    ("source", "corners", "box"),
    [
        (VOC, "11 9 60 50", [10, 8, 60, 50]),
        (VOC, "1 1 96 64", [0, 0, 96, 64]),
        ("", "11 9 60 50", [10, 8, 60, 50]),
        (LABELIMG, "10 8 60 50", [10, 8, 60, 50]),  # where the mouse was
        (LABELIMG, "1 1 96 64", [0, 0, 96, 64]),  # 1 stands for 0 there too
        (LABELIMG, "1 2 3 4", [0, 2, 3, 4]),
        (VOC, "45.7 9.2 60.5 50", [44.7, 8.2, 60.5, 50]),
        ("<source><database> Unknown </database></source>", "0.0 8.5 60 50", [0, 8.5, 60, 50]),  # CVAT
    ],
)
def test_corners_count_from_1_in_vocs_own_files_and_from_0_in_those_of_labelimg(
    source: str, corners: str, box: list[float], tmp_path: Path
) -> None:
    root = write_voc(tmp_path, {"train": range(3), "val": range(3, 6)})
    for path in (root / "Annotations").iterdir():
        text = path.read_text().replace("<size>", f"{source}<size>")
        left, top, right, bottom = corners.split()
        values = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        path.write_text(re.sub("<xmin>(?!1</xmin><ymin>1</ymin><xmax>2<).*?</ymax>", values, text))
    assert find_detection(root, "train").images[0].boxes_xyxy.tolist() == [pytest.approx(box)]


def test_a_0_anywhere_shows_that_a_data_set_counts_from_0(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": range(3), "val": range(3, 6)})
    path = root / "Annotations" / "photo 4.xml"  # of the other split
    path.write_text(path.read_text().replace("<xmin>15", "<xmin>0"))
    assert find_detection(root, "train").images[1].boxes_xyxy.tolist() == [[12, 9, 61, 50]]
    assert find_detection(root, "val").images[1].boxes_xyxy.tolist() == [[0, 9, 64, 50]]


@pytest.mark.parametrize("lists", [{}, {"trainval": range(10)}, {"train": range(10)}, {"cat_train": range(3)}])
def test_without_a_list_for_val_a_fifth_is_held_out(lists: dict[str, range], tmp_path: Path) -> None:
    root = write_voc(tmp_path, lists)
    training, validation = (numbers(find_detection(root, split)) for split in ("train", "val"))
    assert (len(training), len(validation)) == (8, 2)
    assert sorted(training + validation) == list(range(10))


@pytest.mark.parametrize(
    ("pictures", "annotations"),
    [
        ("{split}", "{split}"),
        ("images/{split}", "annotations/{split}"),
        ("{split}/images", "{split}/annotations"),
        ("{split}/JPEGImages", "{split}/Annotations"),
    ],
)
def test_splits_may_be_folders(pictures: str, annotations: str, tmp_path: Path) -> None:
    for split, count in (("train", 4), ("valid", 2), ("test", 3)):
        write(tmp_path / pictures.format(split=split), tmp_path / annotations.format(split=split), range(count))
    task = DetectionTask.load(tmp_path)
    assert (task.count, task.validation_count) == (4, 2)


@pytest.mark.parametrize("pictures", ["images", "Images", "annotations", "."])
def test_folders_of_other_names_are_found_and_xml_beside_its_picture(pictures: str, tmp_path: Path) -> None:
    write(tmp_path / pictures, tmp_path / ("annotations" if pictures != "." else "."), range(10))
    assert len(DetectionTask.load(tmp_path).pictures) == 8


def test_a_picture_is_found_by_the_stem_of_its_xml_where_the_name_in_it_is_wrong(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    for k, path in enumerate(sorted((root / "JPEGImages").iterdir())):
        path.rename(path.with_suffix((".JPG", ".png")[k % 2]))
    assert len(DetectionTask.load(root).pictures) == 8


def test_what_is_difficult_need_not_be_found_and_is_not_learned(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": range(6), "val": range(6, 10)})
    for k in (0, 6):
        path = root / "Annotations" / f"photo {k}.xml"
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    task = DetectionTask.load(root)
    assert [image.crowds.tolist() for image in task.training.images] == [[True], *[[False]] * 5]
    found = [Answer(image.labels.tolist(), [0.9], image.boxes_xyxy.tolist()) for image in task.validation.images]
    assert coco_figures(task.validation, [Answer([], [], []), *found[1:]])["ap"] == 1.0


@pytest.mark.parametrize("width", ["inf", "nan", "0", "-1"])
def test_a_size_that_is_none_is_not_compared(width: str, tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    for path in (root / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<width>96", f"<width>{width}"))
    assert len(read_ground_truth("detect", root).pictures) == 2


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_voc(tmp_path, {"train": range(6), "val": range(6, 9)})
    (root / "SegmentationClass").mkdir()
    Image.new("L", (3, 3)).save(root / "SegmentationClass" / "a.png")
    DetectionTask.load(root)
    left = "1 .jpg (without annotation), 1 .xml, folder SegmentationClass/ (1 pictures)"
    assert capsys.readouterr().out == f"passed over: {left}\n"


def test_a_size_from_before_the_exif_turn_is_named(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": range(6), "val": range(6, 9)})
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (96, 64)).save(root / "JPEGImages" / "photo 7.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"photo 7\.jpg has 64 x 96 pixels, its boxes are for 96 x 64.*exiftool"):
        read_ground_truth("detect", root)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<annotation>", "<annotation", "no XML of Pascal VOC"),
        ("<annotation>", "<?xml version='1.0' encoding='none'?><annotation>", "no XML of Pascal VOC: unknown encoding"),
        ("annotation>", "kml>", "its root is <kml>"),
        ("<xmin>11", "<xmin>left", "corners of 'red box' are"),
        ("<xmin>11", "<xmin>nan", "corners of 'red box' are nan"),
        ("<xmin>11", "<xmin>99", "corners of 'red box' are 99"),
        ("<xmin>11</xmin>", "", "corners of 'red box' are"),
        ("<name>red box</name>", "", "it is empty"),
    ],
)
def test_an_xml_that_is_something_else_is_named(old: str, new: str, reason: str, tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    path = root / "Annotations" / "photo 0.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=reason) as caught:
        find_detection(root, "train")
    assert "photo 0.xml" in str(caught.value) or "empty" in reason


def test_a_picture_that_is_missing_and_a_line_without_xml_are_named(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": range(11), "val": range(3)})
    with pytest.raises(FileNotFoundError, match=r"train\.txt names photo 10, of which there is no XML"):
        find_detection(root, "val")
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    (root / "JPEGImages" / "photo 2.jpg").unlink()
    with pytest.raises(ValueError, match=r"photo 2\.jpg"):
        read_ground_truth("detect", root)
