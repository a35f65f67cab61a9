"""A decoded picture addressed by upright coordinates, however its pixels are stored."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.vision.colours import to_srgb
from emo_serve.vision.resize import Box, resize
from emo_serve.vision.results import ImageSize

_UPRIGHT = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
_RIGHT_TO_LEFT = frozenset({2, 3, 6, 7})  # the left side is stored last
_BOTTOM_TO_TOP = frozenset({3, 4, 7, 8})
_ON_THEIR_SIDE = frozenset({5, 6, 7, 8})  # rows become columns


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels as stored: possibly at a fraction of the image's size, rotated or mirrored.

    A pixel covers ``scale`` x ``scale`` of the image's; those of the last column and row may reach past its edge.
    ``orientation`` is that of EXIF; ignored unless in 2..8. The pixels are RGB, and sRGB unless there is a ``profile``;
    with one they may be CMYK. The conversion happens after resizing, when it is less work.
    """

    pixels: PillowImage.Image
    size: ImageSize
    scale: int = 1
    orientation: int = 1
    profile: bytes = b""

    @classmethod
    def stored(
        cls, pixels: PillowImage.Image, width: int, height: int, scale: int, orientation: int, profile: bytes = b""
    ) -> "Picture":
        """The picture of a file that holds ``width`` x ``height`` pixels."""
        turned = orientation in _ON_THEIR_SIDE
        size = ImageSize(height, width) if turned else ImageSize(width, height)
        return cls(pixels, size, scale, orientation, profile)

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> "Picture":
        """The picture of upright RGB pixels (H, W, 3)."""
        return cls(PillowImage.fromarray(image), ImageSize(image.shape[1], image.shape[0]))

    def upright(self) -> PillowImage.Image:
        """The pixels in upright orientation."""
        turn = _UPRIGHT.get(self.orientation)
        pixels = to_srgb(self.pixels, self.profile) if self.profile else self.pixels
        return pixels if turn is None else pixels.transpose(turn)

    def resized(self, box: Box, width: int, height: int, resample: PillowImage.Resampling) -> NDArray[np.uint8]:
        """The content of ``box``, (height, width, 3), antialiased; pixels around the box influence its edges.

        The box is in pixels of the whole upright image. Only the needed pixels are resized, and rotated after that,
        when it is less work.
        """
        left, top, right, bottom = box
        if self.orientation in _RIGHT_TO_LEFT:
            left, right = self.size.width - right, self.size.width - left
        if self.orientation in _BOTTOM_TO_TOP:
            top, bottom = self.size.height - bottom, self.size.height - top
        if self.orientation in _ON_THEIR_SIDE:
            left, top, right, bottom, width, height = top, left, bottom, right, height, width
        stored = (left / self.scale, top / self.scale, right / self.scale, bottom / self.scale)
        resized = resize(self.pixels, (width, height), resample, stored)
        if self.profile:
            resized = to_srgb(resized, self.profile)
        turn = _UPRIGHT.get(self.orientation)
        return np.array(resized if turn is None else resized.transpose(turn))
