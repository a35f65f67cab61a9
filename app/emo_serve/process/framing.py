"""HTTP/1.1 framing: where requests begin and end, and limits on heads and chunks, checked as data arrives."""

import re
from collections.abc import Sequence

import httptools
from starlette.exceptions import HTTPException

from emo_serve.limits import HttpLimits

_HOST = re.compile(rb"[\w.~%!$&'()*+,;=:\[\]-]*")  # RFC 3986, section 3.2.2, and a port
_PROTOCOLS = ("HTTP/1.1", "HTTP/1.0")
_PROTOCOL = re.compile(rb" ([A-Z]+/[0-9.]+)[ \r]*$")
_LONGEST_PROTOCOL = 16  # bytes at the end of the first line that are kept
_BODY_BYTES_FOR_ONE = 16  # bytes of data that allow one byte of overhead: chunks of 100 bytes comply
_MOST_UNPAID = 16 * 1024  # bytes of overhead that are always allowed
_MOST_CHUNKS = 4096  # in one piece, so that the first 16 KiB of sizes are checked before the rest is read
_END = b"\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]*")
_OWS = b" \t"
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]*)\r\n", re.IGNORECASE)
_SHOWN = 100  # bytes of a client's value that an error repeats


class HeadMeter:
    """Bounds the head of one request, received in any number of pieces."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Start with the head of another request."""
        self.size = 0
        self._lines = 0  # complete lines
        self._line = 0  # bytes of the incomplete line
        self._first = b""  # the end of the first line that is not empty
        self._has_first = False

    @property
    def room(self) -> int:
        """Number of bytes that suffice to find the head too large."""
        return self._limits.max_head_bytes - self.size + 1

    @property
    def protocol(self) -> str:
        """The protocol that the first line names; the parser accepts others than HTTP and tells only their number."""
        found = _PROTOCOL.search(self._first)
        return found[1].decode() if found else "HTTP/0.9"

    def count(self, piece: bytes) -> None:
        """Count a piece, at most ``room`` bytes; raises HTTPException 414 or 431 if it exceeds a limit."""
        self.size += len(piece)
        if not self._has_first:
            line, ended, _ = (self._first + piece).lstrip(b"\r\n").partition(b"\n")
            self._first, self._has_first = line[-_LONGEST_PROTOCOL:], bool(ended)
        if self.size > self._limits.max_line_bytes:
            self._check_lines(piece)
        last = piece.rfind(b"\n")
        self._line = len(piece) - last - 1 if last >= 0 else self._line + len(piece)
        self._lines += piece.count(b"\n")
        if self._lines > self._limits.max_headers + 2:  # the request line and the empty line
            raise HTTPException(431, f"The request has more than the {self._limits.max_headers} headers it may have.")
        if self.size > self._limits.max_head_bytes:
            msg = f"The head of the request is larger than the {self._limits.max_head_bytes} bytes that are allowed."
            raise HTTPException(431, msg)

    def _check_lines(self, piece: bytes) -> None:
        ended, *others = map(len, piece.split(b"\n"))
        most = self._limits.max_line_bytes + 1  # with its CR
        if self._line + ended > most:
            raise self._line_too_long(is_target=not self._lines)
        if max(others, default=0) > most:
            raise self._line_too_long(is_target=False)

    def _line_too_long(self, *, is_target: bool) -> HTTPException:
        what = "The line with the request's target" if is_target else "A header"
        msg = f"{what} is longer than the {self._limits.max_line_bytes} bytes that are allowed."
        return HTTPException(414 if is_target else 431, msg)


class Framing:
    """Finds the end of each request in the received data, and bounds the request.

    The parser would go on with the next request at once, so it is given data only up to the end of the current one.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.head = HeadMeter(limits)
        self.reset()

    def reset(self) -> None:
        """Start with another request."""
        self.head.reset()
        self.is_in_head = True
        self.is_chunked = False
        self.left = 0
        """Bytes still to come of a body with Content-Length."""
        self.data = 0
        """Bytes of a chunked body received so far, counted by the parser's callback."""
        self._all = 0
        self._overhead = 0  # bytes since the last data
        self._chunk = 0  # bytes still to come of the chunk, including its CRLF
        self._size_line = b""  # the incomplete line with the next chunk's size
        self._is_past_last_chunk = False
        self._tail = b""

    def begin_body(self, length: int | None) -> None:
        """Expect a body of this many bytes, or a chunked one (None)."""
        self.is_in_head = False
        self.is_chunked = length is None
        self.left = length or 0

    def replayed_head(self) -> bytes:
        """A head that announces the body of the present request."""
        body = b"Transfer-Encoding: chunked" if self.is_chunked else b"Content-Length: %d" % self.left
        return b"POST / HTTP/1.1\r\n%s\r\n\r\n" % body

    def piece_end(self, data: bytes, start: int) -> int:
        """End of the part of ``data`` from ``start`` to parse next: never past the end of the request.

        To be called once for each piece. A head and a trailer end with an empty line, and the parser accepts no other
        end.
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
        """End of the line of the last chunk; the content of chunks is skipped, as it may contain empty lines.

        With very many chunks, that of an earlier one. A size that the parser rejects may be read as any number.
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
            size = int(_CHUNK_SIZE.match(line)[0] or b"0", 16)  # type: ignore[index]  # it always matches
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
        """Count a piece before it is parsed; raises HTTPException 414 or 431 if the head is too large."""
        if self.is_in_head:
            self.head.count(piece)
        elif not self.is_chunked:
            self.left -= len(piece)
            return
        self._tail = piece[-3:] if len(piece) > 2 else (self._tail + piece)[-3:]

    def check_chunks(self, piece: bytes, data: int) -> None:
        """Count a piece of a chunked body with this much data; raises HTTPException 400 if that is too little.

        The rest, sizes, extensions and trailers, costs as much to read.
        """
        self._all += len(piece)
        self._overhead = 0 if data else self._overhead + len(piece)
        beside = self._all - self.data
        if self._overhead > self._limits.max_head_bytes or beside > _MOST_UNPAID + self.data // _BODY_BYTES_FOR_ONE:
            msg = (
                f"The chunks of the body are too small, or there is too much beside their data: {_MOST_UNPAID} bytes "
                f"are allowed, and one more for each {_BODY_BYTES_FOR_ONE} of data."
            )
            raise HTTPException(400, msg)


def body_length(method: bytes, protocol: str, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """Length of a request's body in bytes, None if it is chunked; the head is one that the parser accepts.

    Raises HTTPException 400, 501 or 505 for requests that a server must not process.
    """
    if protocol not in _PROTOCOLS:
        raise HTTPException(505, f"{protocol} is not understood here; HTTP/1.1 is.")
    if method == b"CONNECT":
        raise HTTPException(501, "CONNECT is for proxies, and this is none.")
    length, codings, hosts = b"", [], []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip(_OWS))
        elif name == b"content-length":
            length = value.strip(_OWS).lstrip(b"0")  # Python's int() limits the number of digits
        elif name == b"transfer-encoding":
            codings.append(value.strip(_OWS).lower())
    _check_host(hosts, protocol)
    if not codings:
        return int(length or b"0")
    if protocol != "HTTP/1.1":
        raise HTTPException(400, f"{protocol} has no Transfer-Encoding.")
    if codings != [b"chunked"]:
        msg = f"Transfer-Encoding: {_shown(b', '.join(codings))} is not understood; chunked alone is."
        raise HTTPException(501, msg)
    return None


def _check_host(hosts: Sequence[bytes], protocol: str) -> None:
    if len(hosts) > 1 or (protocol == "HTTP/1.1" and not hosts):
        raise HTTPException(400, f"The request has {len(hosts)} Host headers; exactly one is needed.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise HTTPException(400, f"Host: {_shown(hosts[0])} is no name of a host.")


def origin_form(target: bytes) -> bytes:
    """A request target without scheme and host, which requests to proxies contain (RFC 9112, section 3.2.2)."""
    if target.startswith(b"/"):
        return target
    parsed = httptools.parse_url(target)
    if parsed.schema is None:
        return target
    path: bytes = parsed.path or b"/"
    return path if parsed.query is None else b"%s?%s" % (path, parsed.query)


def origin_header(data: bytes) -> list[tuple[bytes, bytes]]:
    """The Origin header in a part of a head that is not parsed; empty if there is none."""
    found = _ORIGIN.search(data)
    return [(b"origin", found[1])] if found else []


def fault_of(error: HTTPException | httptools.HttpParserError) -> HTTPException:
    """The HTTP error for an error of the parser or of one of its callbacks."""
    cause = error if isinstance(error, HTTPException) else error.__context__ or error
    if isinstance(cause, HTTPException):
        return cause
    return HTTPException(400, f"The request is not well-formed HTTP: {str(cause)[:_SHOWN]}.")


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN].decode("latin-1"))
