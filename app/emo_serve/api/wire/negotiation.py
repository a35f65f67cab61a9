"""Which media type a client gets: the Accept header against what can be made (RFC 9110, section 12.5.1)."""

from dataclasses import dataclass
from functools import lru_cache

from starlette.exceptions import HTTPException


@dataclass(frozen=True, slots=True)
class _Range:
    media_type: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """0: does not match; 1: ``*/*``; 2: ``image/*``; 3: the type itself."""
        if self.media_type == media_type:
            return 3
        if self.media_type == media_type.partition("/")[0] + "/*":
            return 2
        return int(self.media_type == "*/*")


@lru_cache(maxsize=128)  # clients send the same again and again
def negotiate(accept: bytes | None, available: tuple[str, ...]) -> str:
    """The best of ``available`` (the server's order of preference) for an Accept header.

    Raises HTTPException 406 where none is acceptable.
    """
    ranges = _parse((accept or b"*/*").decode("latin-1"))
    best: tuple[float, int, int] | None = None
    for position, media_type in enumerate(available):
        matches = [(found, entry.quality) for entry in ranges if (found := entry.specificity(media_type))]
        if not matches:
            continue
        specificity, quality = max(matches)
        rank = (quality, specificity, -position)
        if quality > 0 and (best is None or rank > best):
            best = rank
    if best is None:
        raise HTTPException(
            406, f"Accept: {(accept or b'')[:100].decode('latin-1')}; can be produced: {', '.join(available)}."
        )
    return available[-best[2]]


def _parse(accept: str) -> list[_Range]:
    ranges = []
    for part in accept.split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = _quality(value.strip())
        if media_type:
            ranges.append(_Range(media_type, quality))
    return ranges or [_Range("*/*", 1.0)]


def _quality(text: str) -> float:
    """A weight from 0 to 1; what is none counts as 0, because nothing was clearly asked for."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
