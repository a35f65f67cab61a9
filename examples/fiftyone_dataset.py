"""Answers as fields of a FiftyOne dataset: needs `emo-client[fiftyone]`; `python fiftyone_dataset.py photos/`."""

import sys
from collections.abc import Sequence

import fiftyone
from emo_client import Client


def annotate(samples: Sequence[fiftyone.Sample], client: Client) -> None:
    """Add the fields ``shows`` and ``objects`` to each sample; one that cannot be answered gets none."""
    paths = [sample.filepath for sample in samples]
    shown = client.map(client.classify, paths, return_exceptions=True)
    found = client.map(client.detect, paths, return_exceptions=True)
    for sample, classes, objects in zip(samples, shown, found, strict=True):
        if not isinstance(classes, Exception) and not isinstance(objects, Exception):
            sample["shows"], sample["objects"] = classes.to_fiftyone(), objects.to_fiftyone()


if __name__ == "__main__":
    dataset = fiftyone.Dataset.from_images_dir(sys.argv[1])
    samples = list(dataset)
    with Client("http://localhost:8000") as client:
        annotate(samples, client)
    for sample in samples:
        sample.save()
    fiftyone.launch_app(dataset).wait()
