"""What comes on the wire before and around a body, measured while it comes and judged when it is there."""

import re
from collections.abc import Sequence

import httptools
from starlette.exceptions import HTTPException

from emo_serve.limits import HttpLimits

_HOST = re.compile(rb"[\w.~%!$&'()*+,;=:\[\]-]*")  # RFC 3986, section 3.2.2, and a port
_VERSIONS = ("1.1", "1.0")
_BODY_BYTES_FOR_ONE = 16  # bytes of a chunked body that pay for one beside it: chunks of 100 bytes do
_MOST_UNPAID = 16 * 1024  # bytes beside the data that need not be paid for
_MOST_CHUNKS = 4096  # in one piece: so the first 16 KiB of sizes are judged before the rest is read
_END = b"\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]*")
_OWS = b" \t"
_SHOWN = 100  # bytes of a client's value that are repeated to it


class HeadMeter:
    """Bounds the head of one request, whatever pieces it comes in."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Expect the head of another request."""
        self.size = 0
        self._lines = 0  # that have ended
        self._line = 0  # bytes of the one that has not

    @property
    def room(self) -> int:
        """How many bytes are enough to tell that the head is too large."""
        return self._limits.max_head_bytes - self.size + 1

    def count(self, piece: bytes) -> None:
        """Count what comes next, at most ``room`` bytes; raises HTTPException 414 or 431 where that is too much."""
        self.size += len(piece)
        if self.size > self._limits.max_line_bytes:
            self._check_lines(piece)
        last = piece.rfind(b"\n")
        self._line = len(piece) - last - 1 if last >= 0 else self._line + len(piece)
        self._lines += piece.count(b"\n")
        if self._lines > self._limits.max_headers + 2:  # the line of the target and the empty one
            raise HTTPException(431, f"The request has more than the {self._limits.max_headers} headers it may have.")
        if self.size > self._limits.max_head_bytes:
            msg = f"The head of the request is larger than the {self._limits.max_head_bytes} bytes that are allowed."
            raise HTTPException(431, msg)

    def _check_lines(self, piece: bytes) -> None:
        ended, *others = map(len, piece.split(b"\n"))
        most = self._limits.max_line_bytes + 1  # and what ends it
        if self._line + ended > most:
            raise self._line_too_long(is_target=not self._lines)
        if max(others, default=0) > most:
            raise self._line_too_long(is_target=False)

    def _line_too_long(self, *, is_target: bool) -> HTTPException:
        what = "The line with the request's target" if is_target else "A header"
        msg = f"{what} is longer than the {self._limits.max_line_bytes} bytes that are allowed."
        return HTTPException(414 if is_target else 431, msg)


class Framing:
    """Where one request begins and ends in what comes, and whether it is too much of one.

    The parser would go on with the next request at once; it is given no more than this lets through.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.head = HeadMeter(limits)
        self.reset()

    def reset(self) -> None:
        """Expect another request."""
        self.head.reset()
        self.is_in_head = True
        self.is_chunked = False
        self.left = 0
        """Bytes of a body that is not chunked which are to come."""
        self.data = 0
        """Bytes of a chunked body that have come; whoever gets them counts them here."""
        self._all = 0
        self._alone = 0  # bytes since data came
        self._chunk = 0  # bytes of the chunk that are to come, with the line's end behind it
        self._size_line = b""  # what has come of the line with the next chunk's size
        self._is_past_last_chunk = False
        self._tail = b""

    def begin_body(self, length: int | None) -> None:
        """Expect a body of so many bytes, or a chunked one."""
        self.is_in_head = False
        self.is_chunked = length is None
        self.left = length or 0

    def piece_end(self, data: bytes, start: int) -> int:
        """How far to go at once in ``data`` from ``start`` on: never past the end of the request.

        To be called once for each piece. A head and what is behind the last chunk end with an empty line, and nothing
        else ends them that the parser lets pass.
        """
        if not self.is_in_head:
            if not self.is_chunked:
                return min(len(data), start + self.left)
            if not self._is_past_last_chunk:
                return self._chunks_end(data, start)
        end = self._end_begun_before(data, start) if self._tail else None
        if end is None:
            found = data.find(_END, start)
            end = found + len(_END) if found >= 0 else len(data)
        return min(end, start + self.head.room) if self.is_in_head else end

    def _chunks_end(self, data: bytes, start: int) -> int:
        """Where the line of the last chunk ends: what chunks hold is skipped, or each empty line in it would be a stop.

        Or that of one before it, where there are very many. A size that the parser does not let pass may count as any.
        """
        at = start
        for _ in range(_MOST_CHUNKS):
            at, self._chunk = min(len(data), at + self._chunk), max(0, at + self._chunk - len(data))
            end = data.find(b"\n", at)
            if self._chunk or end < 0:
                self._size_line += data[at:]
                return len(data)
            line, self._size_line = self._size_line + data[at:end], b""
            at = end + 1
            size = int(_CHUNK_SIZE.match(line)[0] or b"0", 16)  # type: ignore[index]  # it matches nothing at least
            if not size:
                self._is_past_last_chunk = True
                return at
            self._chunk = size + len(b"\r\n")
        return at

    def _end_begun_before(self, data: bytes, start: int) -> int | None:
        for known in range(len(self._tail), 0, -1):
            if _END.startswith(self._tail[-known:]) and data.startswith(_END[known:], start):
                return start + len(_END) - known
        return None

    def expect(self, piece: bytes) -> None:
        """Count a piece before the parser has it; raises HTTPException 414 or 431 where the head is too large."""
        if self.is_in_head:
            self.head.count(piece)
        elif not self.is_chunked:
            self.left -= len(piece)
            return
        self._tail = piece[-3:] if len(piece) > 2 else (self._tail + piece)[-3:]

    def check_chunks(self, piece: bytes, data: int) -> None:
        """Count a piece of a chunked body in which so much data was; raises HTTPException 400 where that is too little.

        What else there is, sizes, extensions and trailers, costs as much to read.
        """
        self._all += len(piece)
        self._alone = 0 if data else self._alone + len(piece)
        beside = self._all - self.data
        if self._alone > self._limits.max_head_bytes or beside > _MOST_UNPAID + self.data // _BODY_BYTES_FOR_ONE:
            msg = (
                f"The chunks of the body are too small, or there is too much beside their data: {_MOST_UNPAID} bytes "
                f"are allowed, and one more for each {_BODY_BYTES_FOR_ONE} of data."
            )
            raise HTTPException(400, msg)


def body_length(method: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """The length of a request's body in bytes, None where it is chunked, of a head that the parser lets pass.

    Raises HTTPException 400, 501 or 505 where a server must not answer such a request as if it were another.
    """
    if version not in _VERSIONS:
        raise HTTPException(505, f"HTTP/{version} is not understood here; HTTP/1.1 is.")
    if method == b"CONNECT":
        raise HTTPException(501, "CONNECT is for proxies, and this is none.")
    length, codings, hosts = b"", [], []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip(_OWS))
        elif name == b"content-length":
            length = value.strip(_OWS).lstrip(b"0")  # there may be more of them than Python reads
        elif name == b"transfer-encoding":
            codings.append(value.strip(_OWS).lower())
    _check_host(hosts, version)
    if not codings:
        return int(length or b"0")
    if version != "1.1":
        raise HTTPException(400, f"HTTP/{version} has no Transfer-Encoding.")
    if codings != [b"chunked"]:
        msg = f"Transfer-Encoding: {_shown(b', '.join(codings))} is not understood; chunked alone is."
        raise HTTPException(501, msg)
    return None


def _check_host(hosts: Sequence[bytes], version: str) -> None:
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise HTTPException(400, f"The request has {len(hosts)} Host headers; exactly one is needed.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise HTTPException(400, f"Host: {_shown(hosts[0])} is no name of a host.")


def origin_form(target: bytes) -> bytes:
    """A request target without the scheme and the host that one for a proxy has (RFC 9112, section 3.2.2)."""
    if target.startswith(b"/"):
        return target
    parsed = httptools.parse_url(target)
    if parsed.schema is None:
        return target
    path: bytes = parsed.path or b"/"
    return path if parsed.query is None else b"%s?%s" % (path, parsed.query)


def malformed(cause: BaseException) -> HTTPException:
    """What is answered where the parser does not know what came."""
    return HTTPException(400, f"The request is not well-formed HTTP: {str(cause)[:_SHOWN]}.")


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN].decode("latin-1"))
