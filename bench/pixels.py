"""Cost of decoding and preprocessing against plain Pillow, difference of their pixels, and its effect on a model.

    python -m bench.pixels
    python -m bench.pixels --agreement PHOTOS --model models/emo-1m/3

The first prints CPU milliseconds per image, measured in turns on one thread, for JPEGs made of one photo (of
scikit-image, or ``--photo``). The second compares the best class of a model on real photos, as they are and enlarged
four times.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from emo_serve.manifest import MANIFEST_FILE, Preprocessing, read_manifest
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.preprocess import least_side, preprocess

Tensor = NDArray[np.uint8]

LIMITS = ImageLimits()
SIZES = ((640, 480, 20), (1920, 1080, 8), (4000, 3000, 4))  # and how often, for each of the rounds
RULE = Preprocessing(
    mode="crop", height=224, width=224, resize=256, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
)
QUALITY = 90
ENLARGED = 4


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Pixels: cost and difference against plain Pillow.")
    parser.add_argument("--photo", type=Path, help="the photo to make JPEGs of; without it one of scikit-image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--agreement", type=Path, metavar="DIR", help="photos on which to compare a model's answers")
    parser.add_argument("--model", type=Path, default=Path("models/emo-1m/3"), help="the classifier (%(default)s)")
    parser.add_argument("--count", type=int, default=500, help="how many of the photos (%(default)s)")
    args = parser.parse_args()
    if args.agreement is None:
        photo = np.asarray(skimage.data.astronaut() if args.photo is None else Image.open(args.photo).convert("RGB"))
        compare_costs(Image.fromarray(photo), args.rounds)
    else:
        compare_answers(sorted(args.agreement.rglob("*.jpg"))[: args.count], args.model)


def plain(data: bytes, rule: Preprocessing) -> Tensor:
    """The tensor as most programs make it: decode all, resize all, cut out the middle."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    resample = Image.Resampling[rule.interpolation.upper()]
    if rule.resize is None:
        return np.asarray(image.resize((rule.width, rule.height), resample))
    short = min(image.size)
    width, height = (rule.resize if side == short else int(rule.resize * side / short) for side in image.size)
    left, top = round((width - rule.width) / 2), round((height - rule.height) / 2)
    return np.asarray(image.resize((width, height), resample).crop((left, top, left + rule.width, top + rule.height)))


def ours(data: bytes, rule: Preprocessing) -> Tensor:
    """The tensor as the server makes it."""
    return preprocess(decode(data, LIMITS, least_side(rule)), rule)[0]


def ours_full(data: bytes, rule: Preprocessing) -> Tensor:
    """The tensor as the server makes it with ``full_decode=true``."""
    return preprocess(decode(data, LIMITS), rule)[0]


def compare_costs(photo: Image.Image, rounds: int) -> None:
    """Print a line for each size and each way."""
    print("JPEG        kB  way            CPU ms min  median   plain/way  difference max   mean")
    for width, height, repeats in SIZES:
        data = encoded(photo.resize((width, height), Image.Resampling.LANCZOS))
        ways = (plain, ours_full, ours)
        seconds = in_turns([partial(way, data, RULE) for way in ways], rounds, repeats)
        wanted = plain(data, RULE).astype(int)
        for way, taken in zip(ways, seconds, strict=True):
            difference = np.abs(way(data, RULE) - wanted)
            gain = min(seconds[0]) / min(taken)
            print(
                f"{width}x{height:<5} {len(data) // 1024:>5}  {way.__name__:<14} {min(taken) * 1000:>10.2f}"
                f"  {median(taken) * 1000:>6.2f}  {gain:>10.2f}  {difference.max():>14}  {difference.mean():>5.3f}"
            )


def in_turns(ways: list[Callable[[], Tensor]], rounds: int, repeats: int) -> list[list[float]]:
    """CPU seconds of each call of each way."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, seconds in zip(ways, taken, strict=True):
            for _ in range(repeats):
                began = time.thread_time()
                way()
                seconds.append(time.thread_time() - began)
    return taken


def compare_answers(photos: list[Path], model: Path) -> None:
    """Print on how many photos the best class is the same."""
    rule = read_manifest(model / MANIFEST_FILE).preprocessing
    session = onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])

    def best(tensor: Tensor) -> int:
        return int(session.run(None, {session.get_inputs()[0].name: tensor[None]})[0][0].argmax())

    for name, files in (("as they are", map(Path.read_bytes, photos)), ("enlarged", map(enlarged, photos))):
        print(f"{name:<12} {agreement(files, rule, best)}")


def agreement(files: Iterable[bytes], rule: Preprocessing, best: Callable[[Tensor], int]) -> str:
    """Share of pictures with the same best class for both kinds of pixels, and how far these differ."""
    same, differences, scales = [], [], []
    for data in files:
        wanted, tensor = plain(data, rule), ours(data, rule)
        same.append(best(wanted) == best(tensor))
        differences.append(float(np.abs(wanted.astype(int) - tensor).mean()))
        scales.append(decode(data, LIMITS, least_side(rule)).scale)
    fractions = ", ".join(f"{scales.count(scale)} at 1/{scale}" for scale in sorted(set(scales)))
    return (
        f"same best class {sum(same)} of {len(same)} = {sum(same) / len(same):.2%}, pixels differ by "
        f"{np.mean(differences):.3f} on average, {max(differences):.3f} in the worst photo ({fractions})"
    )


def encoded(image: Image.Image) -> bytes:
    """The image as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def enlarged(path: Path) -> bytes:
    """The photo with four times as long sides, as a JPEG file."""
    image = Image.open(path).convert("RGB")
    return encoded(image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
