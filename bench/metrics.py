"""Print what counting costs: microseconds for each request, milliseconds for each scrape.

python bench/metrics.py
"""

import timeit
from collections.abc import Callable

import numpy as np

from emo_serve.engine.execution.prediction_stats import prediction_stats
from emo_serve.metrics.definitions import MAX_CLASSES, Metrics
from emo_serve.metrics.merge import exposition, snapshot
from emo_serve.vision.results import Classification, Detections

STAGES = {"decode": 0.002, "preprocess": 0.001, "queue": 0.0, "infer": 0.01, "postprocess": 0.0, "total": 0.013}
NAMES = tuple(f"the name of class {number}" for number in range(MAX_CLASSES))
OBJECTS = 5


def main() -> None:
    """Measure and print."""
    metrics = Metrics()
    classifier, detector = metrics.for_model("toy", "classify"), metrics.for_model("finder", "detect")
    best = Classification(np.arange(5), np.full(5, 0.2, np.float32))
    objects = Detections(np.zeros((OBJECTS, 4), np.float32), np.zeros(OBJECTS, np.int64), np.ones(OBJECTS, np.float32))

    def classified() -> None:
        classifier.found(*(prediction_stats(best) or ([], [])), NAMES)

    def detected() -> None:
        detector.found(*(prediction_stats(objects) or ([], [])), NAMES)

    report("a request: method, route, status, seconds", lambda: metrics.answered("POST", "/classify", 200, 0.01))
    report("an image: its stages and outcome", lambda: classifier.answered(STAGES))
    report("an image: its best class", classified)
    report(f"an image: its {OBJECTS} objects", detected)
    for label in range(MAX_CLASSES):
        classifier.found([label], [0.5], NAMES)
    report(f"a scrape with {MAX_CLASSES} classes: snapshot", lambda: snapshot(metrics.registry), 20)
    gathered = snapshot(metrics.registry)
    report(f"a scrape with {MAX_CLASSES} classes: text", lambda: exposition(gathered), 20)


def report(what: str, work: Callable[[], object], number: int = 20_000) -> None:
    """Print the least of seven measurements."""
    seconds = min(timeit.repeat(work, number=number, repeat=7)) / number
    print(f"{what:<45} {seconds * 1e6:>10.1f} us")


if __name__ == "__main__":
    main()
