"""Pictures are resized faster than by Pillow, and come out the same."""

import platform
import sys
import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.vision import resize as module
from emo_serve.vision.golden import golden_picture
from emo_serve.vision.resize import Box, resize
from tests.vision.files import cat, noise

FILTERS = [PillowImage.Resampling.BILINEAR, PillowImage.Resampling.BICUBIC]


def difference(
    picture: PillowImage.Image, size: tuple[int, int], resample: PillowImage.Resampling, box: Box
) -> NDArray[np.int64]:
    """Grey levels between what is made of the box and what Pillow makes of it."""
    ours = np.asarray(resize(picture, size, resample, box))
    assert ours.shape == (size[1], size[0], 3)
    levels: NDArray[np.int64] = np.abs(ours.astype(np.int64) - np.asarray(picture.resize(size, resample, box)))
    return levels


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="no build of it here")
def test_this_machine_has_the_fast_way() -> None:
    assert module.IS_FAST


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((640, 427), (224, 224)),
        ((427, 640), (224, 224)),  # Pillow does columns first here
        ((1600, 1200), (320, 240)),
        ((150, 200), (600, 512)),  # enlarged
        ((300, 200), (300, 100)),  # lower only
        ((300, 200), (120, 200)),  # narrower only
        ((300, 200), (300, 200)),  # the box alone changes
    ],
)
def test_it_is_what_pillow_makes_of_it(
    picture: tuple[int, int], size: tuple[int, int], resample: PillowImage.Resampling
) -> None:
    width, height = picture
    photo = PillowImage.fromarray(cat()).resize(picture)
    for whole in (photo, noise(height, width, 3)):
        for box in (
            (0, 0, width, height),
            (0.31 * width, 0.17 * height, 0.83 * width, 0.79 * height),
            (0.5, 0.0, width, height - 0.25),
            (10.0, 20.0, 80.0, 110.0),
        ):
            levels = difference(whole, size, resample, box)
            assert levels.max() <= 2
            assert levels.mean() < 0.05


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("picture", [(65_535, 1), (1, 65_535), (65_535, 20), (20, 65_535), (20_000, 3), (5000, 4000)])
def test_the_thinnest_and_the_large_come_out_the_same(
    picture: tuple[int, int], resample: PillowImage.Resampling
) -> None:
    for size in ((224, 224), (1, 1), (320, 1), (1, 320)):
        levels = difference(noise(*picture[::-1], 3), size, resample, (0, 0, *picture))
        assert levels.max() <= 2


def test_random_boxes_come_out_the_same() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        width, height = (int(side) for side in random.integers(130, 700, 2))
        left, right = sorted(random.uniform(0, width, 2))
        top, bottom = sorted(random.uniform(0, height, 2))
        box = (float(left), float(top), float(right + 1e-3), float(bottom + 1e-3))
        size = (int(random.integers(1, 400)), int(random.integers(1, 400)))
        levels = difference(noise(height + 1, width + 1, 3), size, FILTERS[int(random.integers(2))], box)
        assert levels.max() <= 2, (width, height, size, box)


def test_a_golden_picture_gives_the_same_tensor_on_every_machine() -> None:
    picture = PillowImage.fromarray(golden_picture())
    for side in (32, 224, 640):
        for resample in FILTERS:
            assert not difference(picture, (side, side), resample, (0, 0, *picture.size)).any()


def test_without_its_library_pillow_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IS_FAST", False)
    assert not difference(
        noise(427, 640, 3), (224, 224), PillowImage.Resampling.BICUBIC, (93.0, 26.0, 467.0, 400.0)
    ).any()


def test_other_threads_go_on_meanwhile() -> None:
    picture, size = noise(3000, 4000, 3), (3000, 2000)
    done = threading.Event()

    def work() -> None:
        resize(picture, size, PillowImage.Resampling.BICUBIC, (0, 0, *picture.size))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    began = last = time.perf_counter()
    longest = 0.0
    while not done.is_set():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    thread.join()
    assert longest < 0.5 * (time.perf_counter() - began)
