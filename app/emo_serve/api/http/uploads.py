"""A request body -> the encoded images in it: raw bytes, multipart/form-data or base64 in JSON."""

import asyncio
import binascii
import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header

from emo_serve.api.http.body_budget import Reservation
from emo_serve.api.http.exchange import Exchange
from emo_serve.api.http.multipart import PIECE, check_count, read_form
from emo_serve.api.wire.schemas import JsonImages
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.errors import ImageUndecodable, InvalidRequest, UnsupportedMediaType
from emo_serve.faults import described

_INLINE_BYTES = 64 * 1024  # longer bodies are parsed in a thread, so as not to block the event loop
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"\s{0,9}[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
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
    if sum(map(len, pieces)) <= (PIECE if take is _raw else _INLINE_BYTES):
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
        return lambda body: _form(body, options.get(b"boundary", b""), max_images)
    if kind == "application/json":
        return lambda body: _json(body, max_images)
    msg = f"Content-Type {kind[:100]!r} holds no image here. {_HINT}" if kind else f"There is no Content-Type. {_HINT}"
    raise UnsupportedMediaType(msg)


def _raw(body: bytes) -> Uploads:
    return Uploads((body,), several=False)


def _form(body: bytes, boundary: bytes, max_images: int) -> Uploads:
    form = read_form(body, boundary, max_images)
    return Uploads(form.images, len(form.images) > 1, form.fields)


def _json(body: bytes, max_images: int) -> Uploads:
    if has_more_values(body, 2 * max_images + 2):  # for each image one and, by the comma of its data: URI, one more
        msg = f"The JSON body has more values than {max_images} images need, which are allowed."
        raise InvalidRequest(msg)
    try:
        parsed = JsonImages.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        msg = f'The JSON body must be {{"image": base64}} or {{"images": [base64, ...]}}: {described(error)}.'
        raise InvalidRequest(msg) from error
    if parsed.image is not None:
        upload = from_base64(parsed.image)
        if isinstance(upload, InvalidRequest):
            raise upload
        return Uploads((upload,), several=False)
    texts = parsed.images or []
    check_count(len(texts), max_images)
    return Uploads(tuple(map(from_base64, texts)), several=True)


def has_more_values(body: bytes, most: int) -> bool:
    """True if JSON may have more than ``most`` values: so many small ones would take minutes and gigabytes as objects.

    Each stands behind a comma or is the first in an array or object; those characters in texts count as well.
    """
    count = 0
    for start in range(0, len(body), PIECE):
        count += sum(body.count(character, start, start + PIECE) for character in (b",", b"[", b"{"))
        if count > most:
            return True
    return False


def from_base64(text: str) -> Upload:
    """The image in a text of base64 or a data: URI; an address is an error that says that nothing is fetched."""
    if _ADDRESS.match(text):
        return InvalidRequest("The text is an address; images are not fetched. Send the bytes of the image as base64.")
    data_uri = _DATA_URI.match(text)
    try:
        starts = range(data_uri.end() if data_uri else 0, len(text), PIECE)
        pieces = [binascii.a2b_base64(text[start : start + PIECE], strict_mode=True) for start in starts]
        if any(len(piece) < PIECE // 4 * 3 for piece in pieces[:-1]):
            return _not_base64("Padding in the middle")
        return b"".join(pieces)
    except (binascii.Error, ValueError) as error:
        return _not_base64(str(error))


def _not_base64(reason: str) -> ImageUndecodable:
    return ImageUndecodable(
        f"The text is not base64 of the standard alphabet, padded and without line breaks ({reason}); "
        "`base64 -w0 photo.jpg` writes it so."
    )
