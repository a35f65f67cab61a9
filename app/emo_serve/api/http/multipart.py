"""A multipart/form-data body -> its images and other fields (RFC 7578)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from emo_serve.errors import InvalidRequest

PIECE = 1024 * 1024  # processed in one go; other threads, the event loop's included, run only in between
_PART_NAME = "file"
_MOST_FIELDS = 100  # beside the images
_LONGEST_FIELD = 8192  # bytes of a field that are kept
_MOST_BLANKS = 1000  # after a boundary: the parser takes half a microsecond for each
_MOST_LINES = 100_000  # that begin with the boundary: two microseconds for each
_LINE_END = re.compile(rb"[ \t]*(?=\r\n|\r?\Z)|(?=--[ \t]*(?:\r\n|\r?\Z))")
"""The end of a line that is a boundary (RFC 2046, section 5.1.1)."""


@dataclass(frozen=True, slots=True)
class Form:
    """The images of a form, in order, and its other fields as (name, value)."""

    images: tuple[bytes, ...]
    fields: tuple[tuple[str, str], ...] = ()


def read_form(
    body: bytes, boundary: bytes, max_images: int, part_name: str = _PART_NAME, *, has_image: bool = True
) -> Form:
    """The images, parts called ``part_name``, and the fields of a multipart body; raises InvalidRequest.

    Without an image it raises too, unless ``has_image`` is False.
    """
    parts = _Parts(max_images, part_name)
    if not boundary:
        msg = "The Content-Type multipart/form-data has no boundary; let the HTTP client make that header."
        raise InvalidRequest(msg)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_part_data": parts.data,
                "on_part_end": parts.end_part,
                "on_end": parts.end,
            },
        )
        start = _first_part(body, boundary)
        parser.write(b"--" + boundary)
        for at in range(start, len(body), PIECE):
            parser.write(body[at : at + PIECE])
    except FormParserError as error:
        msg = f"The multipart body is broken: {error}."
        raise InvalidRequest(msg) from error
    if not parts.ended:
        msg = "The multipart body is broken: it stops before its last boundary."
        raise InvalidRequest(msg)
    if has_image and not parts.images:
        names = ", ".join(repr(name[:50]) for name, _ in parts.fields[:5])
        others = f", only {names}" if names else ""
        msg = f"The multipart body has no part named {part_name!r} (curl -F {part_name}=@photo.jpg){others}."
        raise InvalidRequest(msg)
    return Form(tuple(parts.images), tuple(parts.fields))


def _first_part(body: bytes, boundary: bytes) -> int:
    """Offset of the end of the first boundary's line; the preamble before it is ignored (RFC 2046, section 5.1.1).

    The parser knows neither a preamble nor blanks there. Raises InvalidRequest where there is no boundary, or
    where they would cost too much.
    """
    first = None if body else 0
    for count, at in enumerate(_behind_boundaries(body, boundary)):
        blanks = body[at : at + _MOST_BLANKS + 1]
        if count == _MOST_LINES or (len(blanks) > _MOST_BLANKS and not blanks.strip(b" \t")):
            msg = (
                f"The multipart body is broken: more than {_MOST_LINES} lines begin with the boundary, or more than "
                f"{_MOST_BLANKS} blanks follow one."
            )
            raise InvalidRequest(msg)
        if first is None and (end := _LINE_END.match(body, at)):
            first = end.end()
    if first is None:
        msg = f"The multipart body is broken: no line of it is the boundary '--{boundary[:98].decode('latin-1')}'."
        raise InvalidRequest(msg)
    return first


def _behind_boundaries(body: bytes, boundary: bytes) -> Iterator[int]:
    """Offset of each end of a boundary that begins a line."""
    line = b"\n--" + boundary
    if body.startswith(line[1:]):
        yield len(line) - 1
    for start in range(0, len(body), PIECE):
        end = min(len(body), start + PIECE + len(line) - 1)
        found = body.find(line, start, end)
        while found >= 0:
            yield found + len(line)
            found = body.find(line, found + 1, end)


class _Parts:
    """Parser callbacks that collect the parts of a multipart body."""

    def __init__(self, max_images: int, part_name: str) -> None:
        self.images: list[bytes] = []
        self.fields: list[tuple[str, str]] = []
        self.ended = False
        self._max_images = max_images
        self._part_name = part_name
        self._content = bytearray()  # one buffer, not a list of slices: a body can consist of millions of tiny ones
        self._field = b""
        self._value = b""
        self._name = b""
        self._type = b""

    def begin(self) -> None:
        self._content = bytearray()
        self._name = self._type = self._field = self._value = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"")
        elif self._field.lower() == b"content-type":
            self._type = self._value.strip().lower()
        self._field = self._value = b""

    def headers_finished(self) -> None:
        if self._is_image:
            check_count(len(self.images) + 1, self._max_images)
            return
        name = self._name[:50].decode("utf-8", "replace")
        if self._type.startswith(b"image/"):  # otherwise its result would be missing silently
            msg = f"The multipart body has a picture named {name!r}; every picture must be named {self._part_name!r}."
            raise InvalidRequest(msg)
        if len(self.fields) == _MOST_FIELDS:
            msg = f"The multipart body has more than {_MOST_FIELDS} fields beside the pictures, as many as are allowed."
            raise InvalidRequest(msg)

    @property
    def _is_image(self) -> bool:
        return self._name == self._part_name.encode()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._is_image or len(self._content) <= _LONGEST_FIELD:
            self._content += memoryview(data)[start:end]

    def end_part(self) -> None:
        if self._is_image:
            self.images.append(bytes(self._content))
        else:
            value = self._content[: _LONGEST_FIELD + 1].decode("utf-8", "replace")
            self.fields.append((self._name[:_LONGEST_FIELD].decode("utf-8", "replace"), value.strip()))

    def end(self) -> None:
        self.ended = True


def check_count(count: int, max_images: int) -> None:
    """Raise InvalidRequest for more images than are allowed in one request."""
    if count > max_images:
        msg = f"The request has {count} images or more; at most {max_images} are allowed in one."
        raise InvalidRequest(msg)
