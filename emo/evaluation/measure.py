"""A model and a validation split -> figures: the one way in which anything is measured."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from emo.evaluation.answer_cache import AnswerFile, header_of
from emo.evaluation.answers import Answer
from emo.evaluation.evaluated_model import Description, Subject
from emo.evaluation.ground_truth import Truth, match_classes
from emo.evaluation.images import PictureFile, encoded
from emo.evaluation.local import local_subject
from emo.evaluation.predict import Predict
from emo.evaluation.topk import Labelled
from emo_serve.manifest import Preprocessing, Task


def measure(subject: Subject, truth: Truth, kept: Path | None = None) -> dict[str, float]:
    """Figures in [0, 1], the one that counts first; shows a progress bar.

    With ``kept``, a file, the answers are kept there, and those that it holds already are not asked for again. Raise
    ValueError when it is of another evaluation, where the split is empty or the model does not know its classes.
    """
    if not truth.pictures:
        msg = "the validation split has no pictures"
        raise ValueError(msg)
    description = subject.description
    grouped = _of_groups(description, truth)
    to_truth = [] if grouped else match_classes(description.labels, truth.names)
    if kept is None:
        answers = answers_about(subject, truth.pictures, None, "evaluate")
    else:
        with closing(AnswerFile(kept, header_of(description, truth.pictures))) as file:
            answers = answers_about(subject, truth.pictures, file, "evaluate")
    if grouped:
        found = [answers[picture.key] for picture in truth.pictures]
        return {"group_top1": grouped.group_top1(found, dict(enumerate(grouped.names)))}
    ordered = [_relabelled(answers[picture.key], to_truth) for picture in truth.pictures]
    figures = truth.figures(ordered, description.labels)
    if description.groups and isinstance(truth, Labelled):
        figures["group_top1"] = truth.group_top1(ordered, dict(zip(to_truth, description.groups, strict=True)))
    return figures


def predicted_figures(
    predict: Predict,
    task: Task,
    labels: tuple[str, ...],
    rule: Preprocessing,
    truth: Truth,
    groups: tuple[str, ...] | None = None,
) -> dict[str, float]:
    """The figures of a network that is no file (yet)."""
    return measure(local_subject(Description(task, labels, rule, groups=groups), predict), truth)


def _of_groups(description: Description, truth: Truth) -> Labelled | None:
    """The split, if its classes are groups of the model and not all classes of it."""
    if not isinstance(truth, Labelled) or set(truth.names) <= set(description.labels):
        return None
    return truth if set(truth.names) <= set(description.groups or ()) else None


def answers_about(
    subject: Subject, pictures: Sequence[PictureFile], file: AnswerFile | None, title: str
) -> dict[str, Answer]:
    """The answer about each picture, by its key; asks for those that are not in the file, and adds them to it.

    Shows a progress bar of that title. When a ValueError is raised, it is about the first picture without an answer.
    """
    answers = dict(file.answers) if file else {}
    missing = [picture for picture in pictures if picture.key not in answers]
    done = len(pictures) - len(missing)
    bar = tqdm(desc=title, total=len(pictures), initial=done, unit="img", mininterval=2)
    with bar:
        for picture, answer in zip(missing, subject.ask(encoded(missing)), strict=True):
            answers[picture.key] = answer
            if file:
                file.add(picture.key, answer)
            bar.update()
    return answers


def _relabelled(answer: Answer, to_truth: list[int]) -> Answer:
    """The answer in the data set's labels; objects of classes that it does not have are left out."""
    labels = [to_truth[label] for label in answer.labels]
    if answer.boxes_xyxy is None or answer.scores is None:
        return replace(answer, labels=labels)
    rows = [row for row in zip(labels, answer.scores, answer.boxes_xyxy, strict=True) if row[0] >= 0]
    return Answer([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
