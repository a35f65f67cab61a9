"""The command ``emo label``: its arguments, and the steps from photos to COCO JSON."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from emo.data.splits import is_held_out
from emo.labelling.detectors import LEAST_SCORE, find_detector, predict_photos
from emo.labelling.document import Labelled, check_target, write_document
from emo.labelling.labels import TRUE, Annotator, Known, Rules, decide
from emo.labelling.photos import Photos, find_photos, read_ground_truth
from emo.labelling.sheet import write_sheet

_NAMED = 5  # unreadable photos that are named


def add_label(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of ``emo``."""
    label = commands.add_parser("label", help="photos and detectors -> a COCO JSON to learn from")
    label.add_argument("--data", type=Path, required=True, help="folder of photos, or COCO JSON that names them")
    label.add_argument(
        "--model",
        action="append",
        required=True,
        help="detector, as often as there are: name in the repository, folder <name>/<version>, .onnx beside its "
        "manifest, checkpoint, http://host:port[/models/NAME[@VERSION]]",
    )
    label.add_argument("--out", type=Path, required=True, help="COCO JSON to write, with --hold-out a folder of two")
    label.add_argument(
        "--hold-out", type=_whole(2), metavar="N", help="one of N photos, by its name, goes into instances_val.json"
    )
    label.add_argument(
        "--true", type=Path, action="append", default=[], help="COCO JSON whose boxes win, may be given again"
    )
    label.add_argument("--classes", type=_names, help="NAME[,…]: only these, in this order (default: all)")
    label.add_argument(
        "--rename", type=_pair, action="append", default=[], metavar="OLD=NEW", help="class of a model or a true JSON"
    )
    label.add_argument("--threshold", type=_score, default=0.4, help="least score of an object (default %(default)s)")
    label.add_argument(
        "--class-threshold", type=_class_score, action="append", default=[], metavar="NAME=SCORE", help="of one class"
    )
    label.add_argument(
        "--ignore-above", type=_score, help="least score of a region to ignore (default: half of the threshold)"
    )
    label.add_argument("--sheet", type=Path, help="draw labelled photos into this picture")
    label.add_argument("--sheet-photos", type=_whole(1), default=60, help="how many (default %(default)s)")
    label.add_argument("--answers", type=Path, help="folder where the models' answers are kept (default: beside OUT)")
    label.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    label.set_defaults(run=run_label)


def run_label(options: argparse.Namespace) -> None:
    """Detect, decide, write; raise ValueError or OSError for errors, if possible before any detection."""
    targets = _targets(options)
    detectors = [find_detector(what, options.models) for what in options.model]
    _check_distinct([detector.title for detector in detectors])
    photos = find_photos(options.data)
    renamed = dict(options.rename)
    annotators = [
        Annotator(detector.title, tuple(renamed.get(name, name) for name in detector.evaluated.description.labels))
        for detector in detectors
    ]
    true_names, known = _read_all(options.true, photos, renamed)
    names, rules = _names_and_rules(
        options, [*true_names, *(name for annotator in annotators for name in annotator.names)]
    )

    folder = options.answers or options.out.resolve().with_suffix(".answers")
    predicted = [predict_photos(detector, photos.photos, folder) for detector in detectors]
    labelled = []
    for photo in photos.photos:
        if all(photo.path in answers for answers, _ in predicted):
            truth = known.get(photo.path, Known())
            labels = decide(annotators, [answers[photo.path] for answers, _ in predicted], names, rules, truth)
            labelled.append(Labelled(photo, tuple(labels)))
    undecoded = {path: fault for _, faults in predicted for path, fault in faults.items()}
    for line in report(labelled, names, [*photos.faults, *undecoded.values()]):
        print(line)
    for target, held in targets.items():
        chosen = [one for one in labelled if held is None or is_held_out(one.photo.name, options.hold_out) == held]
        write_document(chosen, names, target)
        print(f"written: {target}, {len(chosen)} photos")
    if options.sheet:
        write_sheet(labelled, names, options.sheet_photos, options.sheet)
        print(f"drawn: {options.sheet}")


def report(labelled: Sequence[Labelled], names: Sequence[str], faults: Sequence[str]) -> Iterator[str]:
    """A line for each class that was found, then the numbers of photos without objects and of unreadable ones."""
    counts: dict[str, Counter[str]] = {"true": Counter(), "labelled": Counter(), "ignored": Counter()}
    for one in labelled:
        for label in one.labels:
            kind = "ignored" if label.is_ignored else "true" if label.source == TRUE else "labelled"
            counts[kind][label.name] += 1
    width = max(map(len, names))
    yield " ".join([" " * width, *(f"{kind:>8}" for kind in counts)])
    for name in names:
        if any(count[name] for count in counts.values()):
            yield " ".join([f"{name:>{width}}", *(f"{count[name]:>8}" for count in counts.values())])
    empty = sum(all(label.is_ignored for label in one.labels) for one in labelled)
    yield f"{len(labelled)} photos, {empty} of them without objects"
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        yield f"left out, as they cannot be read: {len(faults)} ({'; '.join(faults[:_NAMED])}{more})"


def _targets(options: argparse.Namespace) -> dict[Path, bool | None]:
    """The files to write, each with whether it gets the held-out photos; None for all photos."""
    is_folder = options.out.is_dir() or not options.out.suffix
    if is_folder != bool(options.hold_out):
        msg = f"--out {options.out}: wants a file, as in instances.json, or with --hold-out a folder"
        raise ValueError(msg)
    targets: dict[Path, bool | None] = {options.out: None}
    if options.hold_out:
        targets = {options.out / "instances_train.json": False, options.out / "instances_val.json": True}
    for target in targets:
        if target.resolve() in {path.resolve() for path in (options.data, *options.true)}:
            msg = f"{target} is read, so it cannot be written; choose another --out"
            raise ValueError(msg)
        check_target(target)
    if options.sheet and options.sheet.resolve().is_relative_to(options.data.resolve()):
        msg = f"--sheet {options.sheet} would lie among the photos; choose another place"
        raise ValueError(msg)
    return targets


def _check_distinct(titles: Sequence[str]) -> None:
    for title, count in Counter(titles).items():
        if count > 1:
            msg = f"two models are called {title}, and labels say which of them saw what"
            raise ValueError(msg)


def _read_all(paths: Sequence[Path], photos: Photos, renamed: Mapping[str, str]) -> tuple[list[str], dict[Path, Known]]:
    """The classes of all true JSONs, and their labels of each photo."""
    names: list[str] = []
    known: dict[Path, Known] = {}
    for path in paths:
        found, truth = read_ground_truth(path, photos, renamed)
        names += found
        known |= {photo: known.get(photo, Known()).with_more(more) for photo, more in truth.items()}
    return names, known


def _names_and_rules(options: argparse.Namespace, known: Sequence[str]) -> tuple[list[str], Rules]:
    """The classes of the labels, in their order, and their rules; ``known`` are those of all sources."""
    every = list(dict.fromkeys(known))
    of_class = dict(options.class_threshold)
    for name in [*(options.classes or []), *of_class, *dict(options.rename).values()]:
        if name not in every:
            msg = f"nobody knows a class {name!r}; known are {', '.join(every)}"
            raise ValueError(msg)
    rules = Rules(options.threshold, of_class, options.ignore_above)
    names = options.classes or every
    for name in names:
        if not LEAST_SCORE <= rules.region_from(name) <= rules.object_from(name):
            msg = (
                f"{name}: regions to ignore from {rules.region_from(name):g} on and objects from "
                f"{rules.object_from(name):g} on; models are asked for scores from {LEAST_SCORE} to 1, in this order"
            )
            raise ValueError(msg)
    return names, rules


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _pair(text: str) -> tuple[str, str]:
    old, mark, new = text.partition("=")
    if not (old and mark and new):
        msg = f"{text!r}: wants OLD=NEW"
        raise argparse.ArgumentTypeError(msg)
    return old, new


def _class_score(text: str) -> tuple[str, float]:
    name, mark, score = text.rpartition("=")
    if not (name and mark):
        msg = f"{text!r}: wants NAME=SCORE"
        raise argparse.ArgumentTypeError(msg)
    return name, _score(score)


def _score(text: str) -> float:
    score = float(text)
    if not LEAST_SCORE <= score <= 1:
        msg = f"{text}: wants a score from {LEAST_SCORE} to 1"
        raise argparse.ArgumentTypeError(msg)
    return score


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            msg = f"{text}: wants {least} or more"
            raise argparse.ArgumentTypeError(msg)
        return int(text)

    return parse
