"""Small files that are large pictures."""

from pathlib import Path

from tests.attack.attacking import Finding, Neighbour, attacked, cost_of, head
from tests.vision.files import rle_bmp

GREYS = bytes(value for grey in range(256) for value in (grey, grey, grey, 0))
WIDE = (65_535, 762, b"\1\7\0\0" * 762, GREYS)  # a pixel a row; a decoder makes the others


def wide_bitmaps(checkout: Path) -> list[Finding]:
    """Bitmaps of 4 kB and 50 million pixels, of which all but one a row are left to the decoder."""
    findings = []
    with attacked(checkout) as server, Neighbour(server) as neighbour:
        for bits in (8, 4):
            data = rle_bmp(*WIDE, is_rle4=bits == 4)
            text = head("POST", "/classify", "Content-Type: image/bmp", f"Content-Length: {len(data)}") + data
            close = text.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            cpu, _ = cost_of(server, lambda close=close: server.asked(close))  # type: ignore[misc]
            findings.append(Finding(f"a BMP of {len(data) // 1000} kB, run lengths of {bits} bits", cpu, "s CPU", 4.0))
    return [*findings, *neighbour.findings()]
