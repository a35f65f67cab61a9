"""The paper's figures stand beside ours only where the data is theirs."""

import pytest

import emo
from emo.evaluation.command import table
from emo.evaluation.reference_results import published
from emo_serve.manifest import Task

SPLITS: list[tuple[Task, int, int]] = [("classify", 1000, 50_000), ("detect", 80, 5000), ("segment", 150, 2000)]


@pytest.mark.parametrize(
    ("architecture", "split", "figure", "percent"),
    [
        ("emo_1m", 0, "top1", 71.5),
        ("emo_6m", 0, "top1", 79.0),
        ("ssdlite_emo_5m", 1, "ap", 27.9),
        ("retinanet_emo_1m", 1, "ap", 34.4),
        ("deeplabv3_emo_2m", 2, "miou", 35.3),
        ("pspnet_emo_5m", 2, "miou", 38.2),
    ],
)
def test_the_paper_is_quoted_for_its_own_splits(architecture: str, split: int, figure: str, percent: float) -> None:
    found = published(architecture, *SPLITS[split])
    assert found is not None
    assert found.figure == figure
    assert found.value == pytest.approx(percent / 100)


@pytest.mark.parametrize("architecture", emo.MODEL_NAMES)
def test_every_architecture_has_a_figure_on_one_split(architecture: str) -> None:
    assert sum(published(architecture, *split) is not None for split in SPLITS) == 1


@pytest.mark.parametrize(
    ("architecture", "classes", "pictures"), [("emo_1m", 1000, 49_999), ("emo_1m", 203, 50_000), ("toy", 1000, 50_000)]
)
def test_the_paper_is_not_quoted_for_anything_else(architecture: str, classes: int, pictures: int) -> None:
    assert published(architecture, "classify", classes, pictures) is None


def test_the_difference_stands_beside_the_figure_that_the_paper_has() -> None:
    lines = list(table({"top1": 0.7101, "top5": 0.9}, published("emo_1m", "classify", 1000, 50_000)))
    assert [line.split() for line in lines[:3]] == [
        ["here", "paper", "difference"],
        ["top1", "0.7101", "0.7150", "-0.0049"],
        ["top5", "0.9000"],
    ]
    assert lines[3] == "paper: arXiv 2301.01146, emo_1m on ImageNet-1K val"
    assert list(table({"top1": 0.5}, None)) == ["            top1 0.5000"]
