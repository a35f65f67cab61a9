"""Layouts of data sets, and whose classes are whose."""

from pathlib import Path

import pytest

from emo.evaluation.ground_truth import match_classes, read_truth
from emo.evaluation.measure import measure
from emo.evaluation.targets import choose_subject
from emo.export.checkpoint_import import usual_labels
from tests.emo.evaluation.splits import write_boxed, write_labelled, write_split
from tests.support import write_classifier, write_detector


def test_cocos_own_layout_is_read_as_ours_is(tmp_path: Path) -> None:
    subject = choose_subject(str(write_detector(tmp_path / "models")))
    write_boxed(tmp_path / "ours")
    write_boxed(tmp_path / "theirs", "annotations/instances_val2017.json", "val2017")
    ours, theirs = (measure(subject, read_truth("detect", tmp_path / name)) for name in ("ours", "theirs"))
    assert ours == theirs


def test_imagenets_folders_are_matched_by_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = choose_subject(str(write_classifier(tmp_path / "models")))
    write_labelled(tmp_path / "data", ("n01440764", "n01443537", "n01484850"), ".JPEG")
    assert measure(subject, read_truth("classify", tmp_path / "data"))["top1"] == pytest.approx(2 / 3)
    assert "matched by their order" in capsys.readouterr().out


def test_classes_are_matched_by_name_and_the_model_may_know_more() -> None:
    assert match_classes(("red", "green", "blue"), ("blue", "red")) == [1, -1, 0]
    assert match_classes(usual_labels("classify", 1000), tuple(f"n{k:08}" for k in range(1000))) == list(range(1000))
    assert match_classes(("class 0", "class 1"), ("cat", "dog")) == [0, 1]
    assert match_classes(("cat", "dog"), ()) == [0, 1]
    assert match_classes(("ka\u0308se", "dog"), ("dog", "k\xe4se")) == [1, 0]  # as macOS and as others write it


@pytest.mark.parametrize("data", [("cat", "cow"), ("n00000001",), ("n00000001", "cat")])
def test_classes_that_the_model_does_not_know_are_named(data: tuple[str, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"none of the model's 2: .*{data[-1] if 'cow' in data else data[0]}.*cat, dog"
    ):
        match_classes(("cat", "dog"), data)


@pytest.mark.parametrize(
    ("task", "wanted"), [("classify", "neither"), ("detect", "instances_val"), ("segment", "images/validation")]
)
def test_a_folder_that_holds_none_of_the_layouts_is_an_error_that_names_them(
    task: str, wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=wanted):
        read_truth(task, tmp_path)  # type: ignore[arg-type]


def test_a_picture_without_a_map_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_split("segment", tmp_path)
    (tmp_path / "annotations" / "validation" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotations/validation/3\.png is missing"):
        read_truth("segment", tmp_path)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    subject = choose_subject(str(write_classifier(tmp_path / "models")))
    (tmp_path / "data" / "val" / "red").mkdir(parents=True)
    with pytest.raises(ValueError, match="no pictures"):
        measure(subject, read_truth("classify", tmp_path / "data"))
