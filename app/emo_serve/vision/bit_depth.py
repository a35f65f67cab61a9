"""Deep samples -> 8 bits."""

import numpy as np
from numpy.typing import NDArray


def levels_of_16_bits(values: NDArray[np.uint16], bits: int = 16) -> NDArray[np.uint8]:
    """Samples of 0..2^bits - 1 scaled to 0..255, of the same shape."""
    scaled = np.arange(65536, dtype=np.float32) * (255 / (2**bits - 1)) + 0.5
    table: NDArray[np.uint8] = scaled.clip(0, 255).astype(np.uint8)
    levels: NDArray[np.uint8] = table[values]
    return levels


def levels_of_numbers(values: NDArray[np.number]) -> NDArray[np.uint8]:
    """Integers or floats whose range no file states, scaled to 0..255.

    The range is the smallest of 0..1 (floats only), 0..255, 0..65535 and 0..2^32-1 that contains them all. Negative,
    infinite and NaN values become 0.
    """
    steps = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    numbers = np.array(values, np.float32)
    np.nan_to_num(numbers, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    highest = numbers.max(initial=0)
    numbers *= 255 / next((step for step in steps if highest <= step), 2.0**32 - 1)
    numbers += 0.5
    numbers.clip(0, 255, out=numbers)
    return numbers.astype(np.uint8)
