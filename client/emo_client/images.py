"""Pictures as users have them -> encoded bytes."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

Picture: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | PIL.Image.Image | NDArray[np.uint8]"
"""A path or an http(s) address, the bytes of a file, a Pillow image, or an RGB or grey array (H, W[, 3])."""

_ADDRESSES = ("http://", "https://")
_MODES_OF_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Raise ModuleNotFoundError that says what to install where an import inside finds no such package."""
    try:
        yield
    except ModuleNotFoundError as error:
        msg = f"this needs the package {error.name}: pip install 'emo-client[{name}]'"
        raise ModuleNotFoundError(msg, name=error.name) from error


def address_of(picture: Picture) -> str | None:
    """The address if the picture is one; the client fetches it, as the server fetches nothing."""
    return picture if isinstance(picture, str) and picture.lower().startswith(_ADDRESSES) else None


def encode(picture: Picture) -> bytes:
    """The bytes of an encoded picture; Pillow images and arrays become PNG, so that no pixel changes.

    Raises OSError if a file cannot be read, TypeError or ValueError for what is no picture.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    buffer = io.BytesIO()
    _for_png(to_pillow(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _for_png(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """The picture in a mode that PNG has: CMYK, YCbCr and others become RGB; raises ValueError where none fits."""
    fault = "no pixels" if 0 in image.size else "floating-point pixels" if image.mode == "F" else None
    if image.mode == "I" and fault is None:
        least, most = cast("tuple[int, int]", image.getextrema())
        fault = "pixels outside 0 to 65535" if least < 0 or most >= 1 << 16 else None
    if fault:
        msg = f"a picture has pixels of whole numbers of 8 or 16 bits, and this one has {fault}"
        raise ValueError(msg)
    if image.mode in _MODES_OF_PNG:
        return image
    return image.convert({"I": "I;16", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}.get(image.mode, "RGB"))


def to_pillow(picture: Picture) -> "PIL.Image.Image":
    """An upright Pillow image; needs Pillow. Raises as ``encode``."""
    with extra("images"):
        from PIL import Image, ImageOps  # noqa: PLC0415

    if isinstance(picture, Image.Image):
        return ImageOps.exif_transpose(picture)
    if isinstance(picture, bytes | bytearray | memoryview):
        return ImageOps.exif_transpose(Image.open(io.BytesIO(picture)))
    if isinstance(picture, str | os.PathLike):
        return ImageOps.exif_transpose(Image.open(picture))
    return Image.fromarray(_checked(picture))


def _checked(array: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    shape: Any = getattr(array, "shape", None)
    if shape is None or str(getattr(array, "dtype", "")) != "uint8":
        found = type(array).__name__ if shape is None else f"an array of {getattr(array, 'dtype', 'something else')}"
        msg = f"a picture is a path, bytes, a Pillow image or an array of uint8, not {found}"
        raise TypeError(msg)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)) or 0 in shape:
        msg = f"an array of pixels is (H, W), (H, W, 3) or (H, W, 4), and not empty; this one is {tuple(shape)}"
        raise ValueError(msg)
    return array
