"""Detectors and their answers about photos, cached in a file for each model so that a stopped command resumes."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from emo.evaluation.answer_cache import AnswerCache, header_of
from emo.evaluation.answers import Answer
from emo.evaluation.evaluated_model import EvaluatedModel
from emo.evaluation.images import PictureFile
from emo.evaluation.measure import answers_about
from emo.evaluation.targets import choose_model, find_version
from emo.labelling.photos import Photo, is_readable
from emo_serve.manifest import MANIFEST_FILE, MODEL_FILE, read_manifest

LEAST_SCORE = 0.05
"""Score threshold of requests; rules must not be lower."""
_DIGITS = 8  # of the digest in a file name


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector; ``title`` is its name in the labels."""

    title: str
    evaluated: EvaluatedModel


def find_detector(what: str, repository: Path) -> Detector:
    """The detector that ``what`` refers to.

    A name in the repository, anything that ``choose_model`` takes, or ``http://host:port/models/<name>[@<version>]``.
    Raise ValueError if it is none.
    """
    if urlsplit(what).scheme in {"http", "https"}:
        server, _, model = what.partition("/models/")
        title, evaluated = model or urlsplit(what).netloc, choose_model(server, model or None, least_score=LEAST_SCORE)
    else:
        path = Path(what)
        if not path.is_file():
            path = find_version(what, repository)
        evaluated = choose_model(str(path), least_score=LEAST_SCORE)
        title = _title(path)
    if evaluated.description.task != "detect":
        msg = f"{what}: boxes come from a detector; this model's task is {evaluated.description.task}"
        raise ValueError(msg)
    return Detector(title, evaluated)


def _title(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name == MODEL_FILE:
        manifest = read_manifest(folder / MANIFEST_FILE)
        return f"{manifest.name}@{manifest.version}"
    return path.stem


def predict_photos(
    detector: Detector, photos: Sequence[Photo], folder: Path
) -> tuple[dict[Path, Answer], dict[Path, str]]:
    """The answer for each photo by its path, and the faults of those that cannot be decoded.

    Answers are cached in ``folder``, independently of the set of photos; a photo whose size has changed is a new one.
    """
    header = header_of(detector.evaluated.description, ())
    digest = detector.evaluated.description.digest[:_DIGITS]
    pictures = [PictureFile(f"{photo.name} {photo.path.stat().st_size}", photo.path) for photo in photos]
    faults: dict[Path, str] = {}
    with closing(AnswerCache(folder / f"{detector.title.replace('/', '_')}-{digest}.jsonl", header)) as file:
        while True:
            try:
                answers = answers_about(detector.evaluated, pictures, file, detector.title)
            except ValueError as error:
                failed = next((picture for picture in pictures if picture.key not in file.answers), None)
                if failed is None or is_readable(failed.path):
                    raise
                faults[failed.path] = f"{failed.path}{str(error).removeprefix(failed.key)}"
                pictures.remove(failed)
            else:
                return {picture.path: answers[picture.key] for picture in pictures}, faults
