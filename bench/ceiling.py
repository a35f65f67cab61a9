"""The limit of the cores without HTTP: two processes of one thread each, from the bytes of a photo to its classes.

    python -m bench.ceiling .bench/models/emo_1m/emo-1m/1 photo.jpg --processes 2 --seconds 3

The graph, the pixels and the choice of classes are those of the server. The sum of images a second and the CPU
milliseconds of an image are printed as one JSON object.
"""

import argparse
import json
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from emo_serve.engine.execution.pipeline import prepare
from emo_serve.engine.execution.session import OrtSession, infer
from emo_serve.manifest import MANIFEST_FILE, MODEL_FILE, read_manifest
from emo_serve.settings import SessionOptions
from emo_serve.vision.classify import top_classes
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.preprocess import least_side
from emo_serve.vision.results import ClassifyParameters

WARM_UP = 10


def work(model: Path, photo: bytes, seconds: float, barrier: Barrier, results: "multiprocessing.Queue[float]") -> None:
    """One process: put (images a second, CPU milliseconds an image) into ``results``."""
    manifest = read_manifest(model / MANIFEST_FILE)
    session = OrtSession(model / MODEL_FILE, manifest, SessionOptions(intra_op_threads=1))
    limits, rule, parameters = ImageLimits(), manifest.preprocessing, ClassifyParameters(top_k=5)

    def once() -> None:
        prepared = prepare(photo, limits, rule, least_side(rule))
        top_classes(infer(session, [prepared.tensor]).outputs[0]["scores"], parameters)

    for _ in range(WARM_UP):
        once()
    barrier.wait()
    count, cpu, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        once()
        count += 1
    results.put(count / seconds)
    results.put((time.process_time() - cpu) / count * 1000)


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    barrier, queues = context.Barrier(options.processes), [context.Queue() for _ in range(options.processes)]
    photo = options.photo.read_bytes()
    workers = [
        context.Process(target=work, args=(options.model, photo, options.seconds, barrier, queue)) for queue in queues
    ]
    for worker in workers:
        worker.start()
    found = [(queue.get(), queue.get()) for queue in queues]
    for worker in workers:
        worker.join()
    rate, cpu = sum(rate for rate, _ in found), sum(cpu for _, cpu in found) / len(found)
    print(json.dumps({"rate": round(rate, 1), "cpu_ms": round(cpu, 2)}))


if __name__ == "__main__":
    main()
