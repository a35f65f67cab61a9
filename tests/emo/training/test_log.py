import csv
from pathlib import Path

from emo.training.log import log


def lines(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def row(epoch: int, **figures: float) -> dict[str, float]:
    return {"epoch": epoch, "side": 64, "loss": 0.5, **figures, "seconds": 1.0}


def test_the_epoch_that_is_kept_is_marked_and_only_that(tmp_path: Path) -> None:
    log(tmp_path, row(1, top1=0.5), kept=1)
    log(tmp_path, row(2, top1=0.4), kept=1)
    assert [line["kept"] for line in lines(tmp_path)] == ["1", "0"]
    log(tmp_path, row(3, top1=0.6), kept=3)
    assert [line["kept"] for line in lines(tmp_path)] == ["0", "0", "1"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_epoch_that_is_repeated_replaces_its_line(tmp_path: Path) -> None:
    for epoch, figure in ((1, 0.5), (2, 0.6), (2, 0.7)):
        log(tmp_path, row(epoch, top1=figure), kept=epoch)
    assert [line["top1"] for line in lines(tmp_path)] == ["0.5", "0.7"]


def test_figures_that_come_and_go_leave_gaps(tmp_path: Path) -> None:
    log(tmp_path, row(1, ap50=0.0), kept=0)
    log(tmp_path, {**row(2, ap50=0.3), "ap50 cat": 0.3}, kept=2)
    log(tmp_path, row(3, ap50=0.0), kept=2)
    assert [line["ap50 cat"] for line in lines(tmp_path)] == ["", "0.3", ""]
