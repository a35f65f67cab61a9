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
    return image.convert({"I": "I;16", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))


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


def to_rgb(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """A copy in RGB as the server sees it: deep greys scaled to 8 bits, transparency shown on white."""
    from PIL import Image  # noqa: PLC0415  # an extra, which an image shows to be there

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", rgba.size, "white")
    page.paste(rgba, mask=rgba)
    return page


def _grey(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """Greys of more than 8 bits in 8; the range of those that may have any is the least that holds them all."""
    import numpy as np  # noqa: PLC0415  # of the same extra
    from PIL import Image  # noqa: PLC0415  # as above

    values = np.asarray(image)
    samples = np.nan_to_num(values.astype(np.float64), nan=0, posinf=0, neginf=0)
    ranges = {"I": (255, 65535), "F": (1, 255, 65535)}.get(image.mode, (65535,))
    most = next((most for most in ranges if samples.max(initial=0) <= most), 2**32 - 1)
    levels = (samples * (255 / most) + 0.5).clip(0, 255).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        levels[values == transparent] = 255
    return Image.fromarray(levels)


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
