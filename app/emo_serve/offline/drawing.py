"""Pictures with their answers drawn on them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from emo_serve.atomic import atomic_write
from emo_serve.errors import InvalidParameter, ServiceError
from emo_serve.offline.answers import read_answer
from emo_serve.offline.sources import Answer, Source
from emo_serve.vision.draw import PictureType, draw_result, encode_class_map
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.results import Segmentation

_SUFFIXES: Mapping[PictureType, str] = MappingProxyType({"image/png": ".png", "image/jpeg": ".jpg"})


class Drawings:
    """A folder of drawn pictures."""

    def __init__(self, folder: Path, limits: ImageLimits) -> None:
        """Make the folder, for pictures within the limits; raises OSError if that fails."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limits = limits
        self._seen: Counter[str] = Counter()
        self._taken: set[str] = set()

    def stem_for(self, source: Source) -> Path:
        """Path for the picture of this source, without suffix; a number tells those of one name apart."""
        while True:
            self._seen[source.stem] += 1
            number = self._seen[source.stem]
            name = source.stem if number == 1 else f"{source.stem}-{number}"
            if name not in self._taken:
                self._taken.add(name)
                return self._folder / name

    def save(self, stem: Path, data: bytes, answer: Answer) -> Path:
        """Write the encoded picture with its answer, as PNG if it is one, else as JPEG; in any thread.

        Beside that of a segmenter goes its class map, a PNG whose pixels are class ids. Returns the picture's path;
        raises ServiceError if it cannot be drawn or written.
        """
        result, names = read_answer(answer)
        media_type: PictureType = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        path = stem.with_name(stem.name + _SUFFIXES[media_type])
        drawn = draw_result(data, self._limits, result, names, media_type)
        try:
            atomic_write(path, drawn)
            if isinstance(result, Segmentation):
                atomic_write(stem.with_name(f"{stem.name}.labels.png"), encode_class_map(result, names))
        except OSError as error:
            msg = f"{path} cannot be written: {error.strerror or error}"
            raise ServiceError(msg) from error
        return path


def refuse_folder_of_inputs(folder: Path, sources: Iterable[Source]) -> None:
    """Raise InvalidParameter if a picture among the sources lies in the folder, where a drawing could replace it."""
    place = folder.resolve()
    for source in sources:
        if source.path is not None and source.path.resolve().parent == place:
            msg = f"--save {folder}: {source.name} is in it and could be replaced; choose another folder"
            raise InvalidParameter(msg)
