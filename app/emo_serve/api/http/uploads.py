"""A request body -> the encoded images in it: raw bytes, multipart/form-data or base64 in JSON."""

import asyncio
import binascii
import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from emo_serve.api.http.body_budget import Reservation
from emo_serve.api.http.exchange import Exchange
from emo_serve.api.wire.schemas import JsonImages
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.errors import ImageUndecodable, InvalidRequest, UnsupportedMediaType

_INLINE_BYTES = 64 * 1024  # longer bodies are parsed in a thread, so as not to block the event loop
_PIECE = 1024 * 1024  # processed in one go; other threads, the event loop's included, run only in between
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"\s{0,9}[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
PART_NAME = "file"
_MOST_FIELDS = 100  # beside the images
_LONGEST_FIELD = 8192  # bytes of a field that are kept
_MOST_BLANKS = 1000  # after a boundary: the parser takes half a microsecond for each
_MOST_LINES = 100_000  # that begin with the boundary: two microseconds for each
_LINE_END = re.compile(rb"[ \t]*(?=\r\n|\r?\Z)|(?=--[ \t]*(?:\r\n|\r?\Z))")
"""What may follow a boundary where it is one (RFC 2046, section 5.1.1)."""
_HINT = (
    "Send the bytes of the image with their media type (curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg'), "
    "multipart/form-data with parts named 'file' (curl -F file=@photo.jpg), "
    'or application/json {"image": base64} or {"images": [base64, ...]}.'
)

Upload = bytes | InvalidRequest
"""One encoded image, or the reason why it could not be read."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """The images of one request, in order, at least one; ``several``: answered as a list, even for one image.

    ``fields`` are the other fields of a form, as (name, value).
    """

    images: tuple[Upload, ...]
    several: bool
    fields: tuple[tuple[str, str], ...] = ()


async def read_uploads(
    exchange: Exchange, reservation: Reservation, max_images: int, deadlines: Deadlines, timeout_seconds: float
) -> Uploads:
    """The images in the body of a request, whose bytes are reserved in ``reservation``.

    Raises UnsupportedMediaType for any other Content-Type, InvalidRequest for a malformed body or one with no image or
    more than ``max_images``, and whatever ``Exchange.read_body`` raises.
    """
    headers = exchange.headers
    take = _reader(headers.get(b"content-type", b""), headers.get(b"content-encoding", b"identity"), max_images)
    pieces = await exchange.read_body(reservation, deadlines, timeout_seconds)
    if sum(map(len, pieces)) <= (_PIECE if take is _raw else _INLINE_BYTES):
        return take(b"".join(pieces))
    return await asyncio.to_thread(lambda: take(b"".join(pieces)))


def is_form(exchange: Exchange) -> bool:
    """True if the body may contain form fields."""
    return exchange.headers.get(b"content-type", b"").strip().lower().startswith(b"multipart/form-data")


@lru_cache(maxsize=128)  # clients repeat the same headers
def _reader(content_type: bytes, content_encoding: bytes, max_images: int) -> Callable[[bytes], Uploads]:
    """The parser for a body with these headers; raises UnsupportedMediaType if there is none."""
    encoding = content_encoding.decode("latin-1").strip().lower()
    if encoding != "identity":
        msg = f"Content-Encoding {encoding[:50]!r} is not understood; send the body as it is."
        raise UnsupportedMediaType(msg)
    media_type, options = parse_options_header(content_type)
    kind = media_type.decode("latin-1").strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _raw
    if kind == "multipart/form-data":
        return lambda body: read_form(body, options.get(b"boundary", b""), max_images)
    if kind == "application/json":
        return lambda body: _json(body, max_images)
    msg = f"Content-Type {kind[:100]!r} holds no image here. {_HINT}" if kind else f"There is no Content-Type. {_HINT}"
    raise UnsupportedMediaType(msg)


def _raw(body: bytes) -> Uploads:
    return Uploads((body,), several=False)


def _json(body: bytes, max_images: int) -> Uploads:
    most = 2 * max_images  # one before an image and, in a data: URI, one inside
    if has_more_commas(body, most):
        msg = f"The JSON body has more than {most} commas: too many for {max_images} images, which are allowed."
        raise InvalidRequest(msg)
    try:
        parsed = JsonImages.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        reasons = "; ".join(_reason(entry["loc"], entry["msg"]) for entry in error.errors(include_input=False)[:3])
        msg = f'The JSON body must be {{"image": base64}} or {{"images": [base64, ...]}}: {reasons}.'
        raise InvalidRequest(msg) from error
    if parsed.image is not None:
        upload = from_base64(parsed.image)
        if isinstance(upload, InvalidRequest):
            raise upload
        return Uploads((upload,), several=False)
    texts = parsed.images or []
    _check_count(len(texts), max_images)
    return Uploads(tuple(map(from_base64, texts)), several=True)


def has_more_commas(body: bytes, most: int) -> bool:
    """Whether JSON may hold very many small values: as objects they would take minutes and gigabytes."""
    count = 0
    for start in range(0, len(body), _PIECE):
        count += body.count(b",", start, start + _PIECE)
        if count > most:
            return True
    return False


def _reason(location: tuple[int | str, ...], message: str) -> str:
    place = ".".join(map(str, location))[:100]
    return f"{place}: {message[:200]}" if place else message[:200]


def from_base64(text: str) -> Upload:
    """The image in a text of base64 or a data: URI; an address is an error that says that nothing is fetched."""
    if _ADDRESS.match(text):
        return InvalidRequest("The text is an address; images are not fetched. Send the bytes of the image as base64.")
    data_uri = _DATA_URI.match(text)
    try:
        starts = range(data_uri.end() if data_uri else 0, len(text), _PIECE)
        pieces = [binascii.a2b_base64(text[start : start + _PIECE], strict_mode=True) for start in starts]
        if any(len(piece) < _PIECE // 4 * 3 for piece in pieces[:-1]):
            return _not_base64("Padding in the middle")
        return b"".join(pieces)
    except (binascii.Error, ValueError) as error:
        return _not_base64(str(error))


def _not_base64(reason: str) -> ImageUndecodable:
    return ImageUndecodable(
        f"The text is not base64 of the standard alphabet, padded and without line breaks ({reason}); "
        "`base64 -w0 photo.jpg` writes it so."
    )


def read_form(
    body: bytes, boundary: bytes, max_images: int, part_name: str = PART_NAME, *, has_image: bool = True
) -> Uploads:
    """The images, parts called ``part_name``, and the fields of a multipart body; raises InvalidRequest.

    That there is no image is allowed unless the form ``has_image``.
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
        for at in range(start, len(body), _PIECE):
            parser.write(body[at : at + _PIECE])
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
    return Uploads(tuple(parts.images), len(parts.images) > 1, tuple(parts.fields))


def _first_part(body: bytes, boundary: bytes) -> int:
    """Where the line with the first boundary ends: what stands before is for people whose programs know no multipart.

    The parser knows neither that nor blanks there. Raises InvalidRequest where there is none, or what costs too much.
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
    """Where the boundary ends at each beginning of a line."""
    line = b"\n--" + boundary
    if body.startswith(line[1:]):
        yield len(line) - 1
    for start in range(0, len(body), _PIECE):
        end = min(len(body), start + _PIECE + len(line) - 1)
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
            _check_count(len(self.images) + 1, self._max_images)
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


def _check_count(count: int, max_images: int) -> None:
    if count > max_images:
        msg = f"The request has {count} images or more; at most {max_images} are allowed in one."
        raise InvalidRequest(msg)
