"""Run-length codes of BMP: runs, literal pixels, and jumps over undefined pixels.

Pillow decodes them byte by byte in Python, skipped pixels included: it took 7 seconds for a file of 4 kB.
"""

import numpy as np

from emo_serve.errors import ImageTooLarge

_LEAST_CODES = 15_000
_PIXELS_A_CODE = 12
_FEW = 16  # runs that are decoded faster one by one
_AT_ONCE = 1024  # runs
_END_OF_BITMAP, _JUMP = 1, 2
_DIGITS = bytes(int(chr(code), 16) if chr(code) in "0123456789abcdef" else 0 for code in range(256))


def decode_run_lengths(codes: bytes, width: int, height: int, *, is_rle4: bool) -> bytes:
    """The width * height palette indices that RLE8 or RLE4 codes encode, in the order of the file.

    Skipped pixels are 0. Consecutive runs are decoded together; the number of other codes is limited such that decoding
    takes at most about 60 ms for a million pixels. Raises ImageTooLarge above it, and OSError if the codes end too
    soon.
    """
    pixels = bytearray(width * height)
    total, end = len(pixels), len(codes)
    place = column = position = few = 0
    left = height + _LEAST_CODES + total // _PIXELS_A_CODE
    while left > 0:
        left -= 1
        if place >= total:
            return bytes(pixels)
        if position + 2 > end:
            msg = "its run-length code ends too soon"
            raise OSError(msg)
        count, code = codes[position], codes[position + 1]
        if count:
            few += 1
            if few > _FEW:
                left -= _FEW
                stop = _next_escape(codes, position)
                values = _runs(codes[position:stop], is_rle4=is_rle4)
            else:
                stop = position + 2
                colours = codes[position + 1 : stop]
                values = (_nibbles(colours) * ((count + 1) // 2))[:count] if is_rle4 else colours * count
            position = stop
            room = min(width - column, total - place)  # a run ends with its row
            if len(values) > room:
                values = values[: max(0, room)]
        elif code > _JUMP:
            few, position = 0, position + 2
            stop = position + ((code + 1) // 2 if is_rle4 else code)
            values = _nibbles(codes[position:stop])[:code] if is_rle4 else codes[position:stop]
            values = values[: total - place]
            position = stop + (stop - position) % 2
        else:
            few, position = 0, position + 2
            if code == _END_OF_BITMAP:
                return bytes(pixels)
            if code == _JUMP:
                right, up = codes[position : position + 2].ljust(2, b"\0")
                place, position = place + right + up * width, position + 2
                column = place % width
            else:
                place, column = place + -place % width, 0
            continue
        pixels[place : place + len(values)] = values
        place, column = place + len(values), column + len(values)
    msg = "The BMP image is run-length coded in too many pieces for its size."
    raise ImageTooLarge(msg)


def _next_escape(codes: bytes, position: int) -> int:
    """Position of the first pair from ``position`` on that is not a run, within a bounded distance."""
    pairs = min(_AT_ONCE, (len(codes) - position) // 2)
    are_escapes = np.frombuffer(codes, np.uint8, 2 * pairs, position)[::2] == 0
    return position + 2 * int(are_escapes.argmax() if are_escapes.any() else pairs)


def _runs(pairs: bytes, *, is_rle4: bool) -> bytes:
    counts, values = np.frombuffer(pairs, np.uint8).reshape(-1, 2).T
    repeated = np.repeat(values, counts)
    if is_rle4:  # two colours by turns, from the first in every run
        starts = np.repeat(np.cumsum(counts, dtype=np.int64) - counts, counts)
        is_second = (np.arange(len(repeated)) - starts) % 2 == 1
        repeated = np.where(is_second, repeated & 15, repeated >> 4)
    return repeated.tobytes()


def _nibbles(packed: bytes) -> bytes:
    """Two indices per byte, the upper half first."""
    return packed.hex().encode().translate(_DIGITS)
