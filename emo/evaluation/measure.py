"""Evaluated model and ground truth -> figures: the only implementation of every evaluation."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from emo.evaluation.answer_cache import AnswerCache, header_of
from emo.evaluation.answers import Answer
from emo.evaluation.evaluated_model import Description, EvaluatedModel
from emo.evaluation.ground_truth import GroundTruth, match_classes
from emo.evaluation.images import PictureFile, encoded
from emo.evaluation.local import local_model
from emo.evaluation.topk import Labelled
from emo.export.predict import Predict
from emo_serve.manifest import Preprocessing, Task


def measure(model: EvaluatedModel, ground_truth: GroundTruth, cache: Path | None = None) -> dict[str, float]:
    """Figures in [0, 1], the main one first; shows a progress bar.

    ``cache`` is an optional file for the answers; those that it already holds are not computed again. Raise ValueError
    if it belongs to another evaluation, if the split is empty or if the model does not know its classes.
    """
    if not ground_truth.pictures:
        msg = "the validation split has no pictures"
        raise ValueError(msg)
    description = model.description
    grouped = _of_groups(description, ground_truth)
    class_ids = [] if grouped else match_classes(description.labels, ground_truth.names)
    if cache is None:
        answers = answers_about(model, ground_truth.pictures, None, "evaluate")
    else:
        with closing(AnswerCache(cache, header_of(description, ground_truth.pictures))) as file:
            answers = answers_about(model, ground_truth.pictures, file, "evaluate")
    if grouped:
        found = [answers[picture.key] for picture in ground_truth.pictures]
        return {"group_top1": grouped.group_top1(found, dict(enumerate(grouped.names)))}
    ordered = [_relabelled(answers[picture.key], class_ids) for picture in ground_truth.pictures]
    figures = ground_truth.figures(ordered, description.labels)
    if description.groups and isinstance(ground_truth, Labelled):
        figures["group_top1"] = ground_truth.group_top1(ordered, dict(zip(class_ids, description.groups, strict=True)))
    return figures


def predicted_figures(
    predict: Predict,
    task: Task,
    labels: tuple[str, ...],
    rule: Preprocessing,
    ground_truth: GroundTruth,
    groups: tuple[str, ...] | None = None,
) -> dict[str, float]:
    """The figures of a network that is not a file (yet)."""
    return measure(local_model(Description(task, labels, rule, groups=groups), predict), ground_truth)


def _of_groups(description: Description, ground_truth: GroundTruth) -> Labelled | None:
    """The split, if its classes are groups of the model instead of classes."""
    if not isinstance(ground_truth, Labelled) or set(ground_truth.names) <= set(description.labels):
        return None
    return ground_truth if set(ground_truth.names) <= set(description.groups or ()) else None


def answers_about(
    model: EvaluatedModel, pictures: Sequence[PictureFile], file: AnswerCache | None, title: str
) -> dict[str, Answer]:
    """The answer for each picture, by its key; missing ones are computed and added to the file.

    Shows a progress bar with this title. A ValueError is about the first picture without an answer.
    """
    answers = dict(file.answers) if file else {}
    missing = [picture for picture in pictures if picture.key not in answers]
    done = len(pictures) - len(missing)
    bar = tqdm(desc=title, total=len(pictures), initial=done, unit="img", mininterval=2)
    with bar:
        for picture, answer in zip(missing, model.predict(encoded(missing)), strict=True):
            answers[picture.key] = answer
            if file:
                file.add(picture.key, answer)
            bar.update()
    return answers


def _relabelled(answer: Answer, class_ids: list[int]) -> Answer:
    """The answer with the data set's class numbers; objects of classes that it does not have are removed."""
    labels = [class_ids[label] for label in answer.labels]
    if answer.boxes_xyxy is None or answer.scores is None:
        return replace(answer, labels=labels)
    rows = [row for row in zip(labels, answer.scores, answer.boxes_xyxy, strict=True) if row[0] >= 0]
    return Answer([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
