from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.engine.execution.session import OrtSession, Outputs
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import SelfTestFailed
from emo_serve.settings import SessionOptions
from emo_serve.vision.image import ImageLimits
from tests.engine.deploying import only_artefact
from tests.support import write_classifier, write_detector


class SpySession:
    """A real session that keeps the sizes of its batches, and may put the channels into another order."""

    def __init__(self, artefact: Artefact, channels: tuple[int, int, int] = (0, 1, 2)) -> None:
        self._session = OrtSession(artefact.model_path, artefact.manifest, SessionOptions())
        self._channels = channels
        self.sizes: list[int] = []

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        self.sizes.append(len(batch))
        return self._session.run(np.ascontiguousarray(batch[..., self._channels]))


def test_a_good_model_passes_alone_and_in_a_full_batch_twice_because_the_memory_is_taken_then(tmp_path: Path) -> None:
    write_detector(tmp_path)
    artefact = only_artefact(tmp_path)
    session = SpySession(artefact)
    seconds = self_test(artefact, session, ImageLimits(), max_batch_size=7)
    assert session.sizes == [1, 7, 1, 7]
    assert seconds.keys() == {1, 7}
    assert min(seconds.values()) > 0


def test_another_answer_than_the_golden_one_is_refused_with_file_output_and_difference(tmp_path: Path) -> None:
    write_classifier(tmp_path, golden_shift=0.25)
    artefact = only_artefact(tmp_path)
    with pytest.raises(SelfTestFailed, match=r"toy-classifier/1/model\.onnx: output 'scores' .* off by up to 0\.25"):
        self_test(artefact, SpySession(artefact), ImageLimits(), max_batch_size=1)


def test_swapped_channels_are_found_and_hinted_at(tmp_path: Path) -> None:
    write_detector(tmp_path)
    artefact = only_artefact(tmp_path)
    with pytest.raises(SelfTestFailed, match=r"'scores'.*channel order"):
        self_test(artefact, SpySession(artefact, channels=(2, 1, 0)), ImageLimits(), max_batch_size=1)
