"""Pictures with their answers drawn on them."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from emo_serve.offline.predictor import Predictor
from emo_serve.offline.sources import Source
from emo_serve.vision.draw import PictureType, draw_result, encode_class_map
from emo_serve.vision.results import Prediction, Segmentation

_SUFFIXES: Mapping[PictureType, str] = MappingProxyType({"image/png": ".png", "image/jpeg": ".jpg"})


class Drawings:
    """A folder of drawn pictures."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; raises OSError if that fails."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._seen: Counter[str] = Counter()

    def stem_for(self, source: Source) -> Path:
        """Where the picture of this source goes, without suffix; a number tells those of one name apart."""
        self._seen[source.stem] += 1
        number = self._seen[source.stem]
        return self._folder / (source.stem if number == 1 else f"{source.stem}-{number}")

    def save(self, stem: Path, data: bytes, prediction: Prediction, predictor: Predictor) -> Path:
        """Write the picture with its answer by ``predictor``, as PNG if it is one, else as JPEG; in any thread.

        Beside that of a segmenter goes its class map, a PNG whose pixels are class ids. Returns the picture's path;
        raises OSError if it cannot be written.
        """
        media_type: PictureType = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        labels = predictor.artefact.labels
        path = stem.with_name(stem.name + _SUFFIXES[media_type])
        path.write_bytes(draw_result(data, predictor.limits, prediction.result, labels, media_type))
        if isinstance(prediction.result, Segmentation):
            stem.with_name(f"{stem.name}.labels.png").write_bytes(encode_class_map(prediction.result, labels))
        return path
