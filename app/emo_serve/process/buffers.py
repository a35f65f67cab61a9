"""Received data that waits: unparsed behind a request, and the pieces of a body."""

from emo_serve.process.framing import Framing


class Unparsed:
    """Received data of which a part may be parsed already."""

    def __init__(self) -> None:
        self.data = b""
        """The latest data, kept with its parsed part until all of it is parsed."""
        self._at = 0

    def __len__(self) -> int:
        return len(self.data) - self._at

    def add(self, data: bytes) -> None:
        """Put more data behind what is not parsed yet."""
        self.data = self.data[self._at :] + data if self else data
        self._at = 0

    def take(self, framing: Framing) -> bytes:
        """The next piece, which the parser may see in one."""
        start, self._at = self._at, framing.piece_end(self.data, self._at)
        return self.data[start : self._at]

    def clear(self) -> None:
        """Drop all of it."""
        self.data, self._at = b"", 0


class BodyPieces:
    """Pieces of a request's body that are passed on as one."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all pieces."""
        self.is_discarded = False
        """Further pieces are dropped."""
        self._pieces: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, piece: bytes) -> None:
        """Keep one more piece."""
        self._pieces.append(piece)
        self.size += len(piece)

    def take(self, before: bytes | bytearray) -> bytes:
        """``before`` and all pieces, joined; none is kept."""
        joined = b"".join((before, *self._pieces))
        self._drop()
        return joined

    def discard(self) -> None:
        """Drop all pieces, and those to come."""
        self.is_discarded = True
        self._drop()

    def _drop(self) -> None:
        self._pieces.clear()
        self.size = 0
