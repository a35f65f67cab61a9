"""Answers of emo-serve as predictions in Label Studio: choices of an image, and rectangles in it (README.md)."""

import argparse
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emo_client import Client, Detections, EmoError
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase

from examples.label_studio.pictures import Pictures

logger = logging.getLogger(__name__)

Prediction = dict[str, Any]
MOST_CLASSES = 1000


class EmoBackend(LabelStudioMLBase):
    """The backend of one project; ``label_config`` says which names of classes it wants."""

    def __init__(self, *, client: Client, pictures: Pictures, **project: object) -> None:
        """Ask ``client`` about pictures that ``pictures`` gives."""
        super().__init__(**project)
        self._client = client
        self._pictures = pictures

    def predict(self, tasks: Sequence[Mapping[str, Any]], **_: object) -> list[Prediction]:
        """A prediction for each task; an empty one, and a line in the log, where there is no answer."""
        return list(self._client.map(self._predicted, tasks, concurrency=4))

    def _predicted(self, task: Mapping[str, Any]) -> Prediction:
        try:
            results = [
                result
                for name, control in self.parsed_label_config.items()
                if control["inputs"][0]["type"] == "Image"
                for result in self._results(name, control, task["data"][control["inputs"][0]["value"]])
            ]
        except (EmoError, OSError, ValueError, KeyError) as error:
            logger.warning("task %s has no prediction: %s", task.get("id"), error)
            return {"result": [], "score": 0.0}
        return {"result": results, "score": min((result["score"] for result in results), default=0.0)}

    def _results(self, name: str, control: Mapping[str, Any], address: str) -> list[dict[str, Any]]:
        """Entries of a control; classes that it has no label for are left out."""
        head = {"from_name": name, "to_name": control["to_name"][0], "type": control["type"].lower()}
        labels = labels_by_class(control)
        if control["type"] == "Choices":
            answer = self._client.classify(self._pictures.read(address), top_k=MOST_CLASSES)
            entries = [*answer.classifications, *(answer.groups or [])]
            known = [(entry.score, labels[key]) for entry in entries if (key := entry.name.casefold()) in labels]
            best = sorted(known, reverse=True)[:1]
            return [{**head, "value": {"choices": [label]}, "score": score} for score, label in best]
        if control["type"] == "RectangleLabels":
            return [head | entry for entry in rectangles(self._client.detect(self._pictures.read(address)), labels)]
        return []


def labels_by_class(control: Mapping[str, Any]) -> dict[str, str]:
    """Names of classes, in lower case -> labels of the control; ``predicted_values`` of a label are names for it."""
    labels = {}
    for label, attributes in control["labels_attrs"].items():
        names = [label, attributes.get("value", ""), *attributes.get("predicted_values", "").split(",")]
        labels |= {name.strip().casefold(): label for name in names if name.strip()}
    return labels


def rectangles(answer: Detections, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Boxes as Label Studio has them: left, top, width and height in percent of the image."""
    width, height = answer.image.width, answer.image.height
    return [
        {
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": 100 * left / width,
                "y": 100 * top / height,
                "width": 100 * (right - left) / width,
                "height": 100 * (bottom - top) / height,
                "rotation": 0,
                "rectanglelabels": [labels[found.name.casefold()]],
            },
            "score": found.score,
        }
        for found in answer.detections
        for left, top, right, bottom in [found.box]
        if found.name.casefold() in labels
    ]


def main() -> None:
    """Serve Label Studio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://localhost:8000", help="address of emo-serve (%(default)s)")
    parser.add_argument("--host", default="", help="the one address that pictures are fetched from, Label Studio's own")
    parser.add_argument("--folder", type=Path, help="folder of its local files (LOCAL_FILES_DOCUMENT_ROOT)")
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=9090, help="and port (%(default)s)")
    options = parser.parse_args()
    pictures = Pictures(options.host, os.environ.get("LABEL_STUDIO_API_KEY", ""), options.folder)
    with tempfile.TemporaryDirectory() as unused, Client(options.server) as client:
        app = init_app(EmoBackend, model_dir=unused, client=client, pictures=pictures)
        app.run(options.listen, options.port)


if __name__ == "__main__":
    main()
