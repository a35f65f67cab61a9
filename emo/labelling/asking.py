"""Detectors, and what they say about photos: asked once, kept in a file for each model, gone on with after a stop."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from emo.evaluation.answer_cache import AnswerFile, header_of
from emo.evaluation.answers import Answer
from emo.evaluation.evaluated_model import Subject
from emo.evaluation.images import PictureFile
from emo.evaluation.measure import answers_about
from emo.evaluation.targets import choose_subject, find_version
from emo.labelling.photos import Photo, is_readable
from emo_serve.manifest import MANIFEST_FILE, MODEL_FILE, read_manifest

LEAST_SCORE = 0.05
"""Of the boxes that are asked for; no rule may want lower ones."""
_DIGITS = 8  # of the digest in a file's name


@dataclass(frozen=True, slots=True)
class Detector:
    """A model that gives boxes; ``title`` is what it is called in the labels."""

    title: str
    subject: Subject


def find_detector(what: str, repository: Path) -> Detector:
    """The detector that ``what`` is.

    A name in the repository, all that ``choose_subject`` takes, or ``http://host:port/models/<name>[@<version>]``.
    Raise ValueError when it is none.
    """
    if urlsplit(what).scheme in {"http", "https"}:
        server, _, model = what.partition("/models/")
        title, subject = model or urlsplit(what).netloc, choose_subject(server, model or None, least_score=LEAST_SCORE)
    else:
        path = Path(what)
        if not path.is_file():
            path = find_version(what, repository)
        subject = choose_subject(str(path), least_score=LEAST_SCORE)
        title = _title(path)
    if subject.description.task != "detect":
        msg = f"{what}: boxes come from a detector; this model's task is {subject.description.task}"
        raise ValueError(msg)
    return Detector(title, subject)


def _title(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name == MODEL_FILE:
        manifest = read_manifest(folder / MANIFEST_FILE)
        return f"{manifest.name}@{manifest.version}"
    return path.stem


def ask(detector: Detector, photos: Sequence[Photo], folder: Path) -> tuple[dict[Path, Answer], dict[Path, str]]:
    """The answer about each photo by its path, and what is wrong with those that cannot be decoded.

    Answers are kept in ``folder``, for whatever photos they are asked; one that has changed its size is a new one.
    """
    header = header_of(detector.subject.description, ())
    digest = detector.subject.description.digest[:_DIGITS]
    asked = [PictureFile(f"{photo.name} {photo.path.stat().st_size}", photo.path) for photo in photos]
    faults: dict[Path, str] = {}
    with closing(AnswerFile(folder / f"{detector.title.replace('/', '_')}-{digest}.jsonl", header)) as file:
        while True:
            try:
                answers = answers_about(detector.subject, asked, file, detector.title)
            except ValueError as error:
                failed = next((picture for picture in asked if picture.key not in file.answers), None)
                if failed is None or is_readable(failed.path):
                    raise
                faults[failed.path] = f"{failed.path}{str(error).removeprefix(failed.key)}"
                asked.remove(failed)
            else:
                return {picture.path: answers[picture.key] for picture in asked}, faults
