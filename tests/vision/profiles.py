"""Colour profiles, made number by number."""

import struct

import numpy as np

SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
"""X, Y and Z of red, green and blue, adapted to D50."""


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(65536 * number) for number in numbers))


def _xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*numbers)


def srgb_curve() -> bytes:
    return b"para\0\0\0\0\0\3\0\0" + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def srgb_table() -> bytes:
    """The curve in 1024 steps, as in the profile that most cameras write."""
    values = np.arange(1024) / 1023
    light = np.where(values < 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + np.round(65535 * light).astype(">u2").tobytes()


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + b"\0\0"


def profile(space: bytes, tags: dict[bytes, bytes], *, pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table += struct.pack(">4sII", name, start + len(content), len(tag))
        content += padded
    size = start + len(content)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, kind, space, pcs) + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + content


def rgb_profile(primaries: tuple[tuple[float, float, float], ...], curve: bytes) -> bytes:
    colours = {name: _xyz(*primary) for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile(b"RGB ", {b"wtpt": _xyz(0.9642, 1, 0.8249), **colours, **curves})


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"wtpt": _xyz(0.9642, 1, 0.8249), b"kTRC": gamma_curve(gamma)})


def ink_profile() -> bytes:
    """Inks that are weaker than pure ones: a table from all or nothing of four inks to L*a*b*."""
    grid = [
        (
            round(255 * (1 - 0.2 * (cyan + magenta + yellow)) * (1 - 0.9 * black)),
            128 - 30 * cyan + 30 * magenta,
            128 + 40 * yellow,
        )
        for cyan in (0, 1)
        for magenta in (0, 1)
        for yellow in (0, 1)
        for black in (0, 1)
    ]
    head = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = head + bytes(range(256)) * 4 + bytes(number for colour in grid for number in colour) + bytes(range(256)) * 3
    return profile(b"CMYK", {b"A2B0": table}, pcs=b"Lab ", kind=b"prtr")
