"""The steps that all adapters share: admission, the body within its limits, parameters, and the predictions."""

import asyncio
import codecs
import reprlib
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.auth import SHOW_KEY
from emo_serve.api.http.body_budget import Reservation
from emo_serve.api.http.exchange import Exchange
from emo_serve.api.http.multipart import PIECE
from emo_serve.api.http.services import services_of
from emo_serve.api.http.uploads import Upload, has_more_values
from emo_serve.api.routes.predict import answer_images, classify_parameters, detect_parameters
from emo_serve.api.wire.problems import allowed_values
from emo_serve.api.wire.schemas import ClassifyQuery, DetectQuery, SegmentQuery
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, InvalidRequest, QueueFull, ServiceError, UnsupportedMediaType
from emo_serve.manifest import Task
from emo_serve.vision.results import (
    Parameters,
    Prediction,
    SegmentParameters,
)

_INLINE_BYTES = 64 * 1024  # longer bodies are read in a thread, so as not to block the event loop
_WINDOWS: Mapping[str, int] = {"gzip": 31, "deflate": 15}  # of zlib: with gzip's head, with its own
_SHOWN = 100  # characters of a client's value that an error repeats
_MOST_MEMBERS = 10_000  # of all objects in a body
_QUERIES: Mapping[Task, type[BaseModel]] = {"classify": ClassifyQuery, "detect": DetectQuery, "segment": SegmentQuery}
_OF_THE_ROUTES = frozenset({"model", "version", "box_format", "units", "format"})
T = TypeVar("T")


@contextmanager
def admitted(request: Request, deployment: Deployment, version: str | None = None) -> Iterator[ModelRequest]:
    """The request, let in to the deployment before its body is read; raises as ``ModelRequest``.

    ``version`` is what the request named; without a number, another version than ``deployment`` may be the one that
    answers: that of the request that this gives.
    """
    exchange, scope, send = request.scope["state"]["exchange"], request.scope, request._send  # noqa: SLF001  passed on
    model_request = ModelRequest(exchange, scope, request.receive, send, deployment, version)
    try:
        yield model_request
    finally:
        model_request.leave()


def default_deployment(catalog: Catalog) -> Deployment:
    """The deployment where a protocol names no model: the default of the first task that has models.

    The tasks are tried in the order classify, detect, segment. Raises as ``Catalog.get``.
    """
    served = {deployment.manifest.task for deployment in catalog.all()}
    return catalog.get(next((task for task in _QUERIES if task in served), "classify"))


async def read_body(request: ModelRequest) -> bytes:
    """The body without its Content-Encoding, of no more bytes than are allowed; raises as ``Exchange.read_body``.

    Raises UnsupportedMediaType or InvalidRequest for an encoding that is unknown or broken, too.
    """
    most, exchange = request.services.settings.max_request_bytes, request.exchange
    try:
        pieces = await exchange.read_body(request.reservation, request.services.deadlines, request.seconds)
        return await _decoded(exchange, b"".join(pieces), request.reservation, most)
    except QueueFull:
        request.deployment.count_refused_body()
        raise


async def _decoded(exchange: Exchange, body: bytes, reservation: Reservation, most: int) -> bytes:
    """The body without its Content-Encoding; what it grows to is limited as a body is, and counts like one."""
    encoding = exchange.headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in _WINDOWS:
        msg = f"Content-Encoding {encoding[:50]!r} is not understood; allowed are {', '.join(_WINDOWS)} and identity."
        raise UnsupportedMediaType(msg)
    inflater = zlib.decompressobj(_WINDOWS[encoding])
    pieces: list[bytes] = []
    size = 0
    for start in range(0, len(body), PIECE):
        left = body[start : start + PIECE]
        while left and not inflater.eof:
            try:
                pieces.append(await asyncio.to_thread(inflater.decompress, left, PIECE))
            except zlib.error as error:
                msg = f"The body is not {encoding}: {error}."
                raise InvalidRequest(msg) from error
            left = inflater.unconsumed_tail
            size += len(pieces[-1])
            if size > most:
                raise HTTPException(413, f"The request body is larger than the {most} bytes that are allowed.")
            reservation.hold(len(body) + size)
        if inflater.unused_data or (inflater.eof and start + PIECE < len(body)):
            msg = f"The body is not {encoding}: something follows its end."
            raise InvalidRequest(msg)
    if not inflater.eof:
        msg = f"The body is not {encoding}: it stops before its end."
        raise InvalidRequest(msg)
    return b"".join(pieces)


@contextmanager
def key_shown(request: Request, key: str) -> Iterator[None]:
    """Show the key that a body holds, '' for none, where the request has none in a header; a block counts as its use.

    Raises HTTPException 401 or RateExceeded for a key that is unknown or asks too often.
    """
    show_key = request.scope["state"].get(SHOW_KEY)
    limiter = None if show_key is None else show_key(key.encode("utf-8", "replace").decode("latin-1"))
    try:
        yield
    finally:
        if limiter is not None:
            limiter.release()


async def parsed(body: bytes, take: Callable[[bytes], T], text_bytes: int | None = None) -> T:
    """``take(body)``, in a thread if that may be long; all but its ``text_bytes`` are copied at most."""
    text = len(body) if text_bytes is None else text_bytes
    is_short = text <= _INLINE_BYTES and len(body) <= PIECE
    return take(body) if is_short else await asyncio.to_thread(take, body)


def read_json(body: bytes, max_values: int) -> dict[str, Any]:
    """The JSON object in a body; raises InvalidRequest for anything else and for one with more than ``max_values``.

    As objects, very many small values would take minutes and gigabytes, and named ones still more.
    """
    if has_more_values(body, max_values) or body.count(b":") > _MOST_MEMBERS:
        msg = f"The JSON body has more values than allowed: {max_values}, of which {_MOST_MEMBERS} may have a name."
        raise InvalidRequest(msg)
    try:
        content = from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        msg = f"The body is no JSON: {str(error)[:_SHOWN]}."
        raise InvalidRequest(msg) from error
    if not isinstance(content, dict):
        msg = f"The JSON body must be an object, not {type(content).__name__}."
        raise InvalidRequest(msg)
    return content


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body of a request that is not admitted, for a block in which it counts as held; raises as ``read_body``.

    Where nobody knows yet who asks, it may take a part of the room for bodies only.
    """
    services, exchange = services_of(request), request.scope["state"]["exchange"]
    is_unkeyed = SHOW_KEY in request.scope["state"]
    reservation = Reservation(services.unkeyed_bodies if is_unkeyed else services.bodies)
    try:
        settings = services.settings
        pieces = await exchange.read_body(reservation, services.deadlines, settings.request_timeout_seconds)
        yield await _decoded(exchange, b"".join(pieces), reservation, settings.max_request_bytes)
    finally:
        reservation.release()


async def read_json_body(request: Request, max_values: int = 1000) -> dict[str, Any]:
    """The JSON object in the body of a request that is for no model, {} for an empty one; raises as ``read_json``."""
    async with body_of(request) as body:
        return read_json(body, max_values) if body.strip() else {}


def member(content: Mapping[str, Any], name: str, kind: type[T], default: T) -> T:
    """A member of a JSON object, ``default`` if it is missing or null; raises InvalidRequest for another type."""
    value = content.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {dict: "an object", list: "an array", str: "a text", int: "a whole number", bool: "true or false"}
        msg = f"{name!r} must be {words[kind]}, not {excerpt(value)}."
        raise InvalidRequest(msg)
    return value


def excerpt(value: object) -> str:
    """The beginning of a client's value, for an error."""
    return reprlib.repr(value) if isinstance(value, list | dict) else repr(str(value)[:_SHOWN])


def parameters_for(
    deployment: Deployment, given: Mapping[str, Any], called: Mapping[str, str] = MappingProxyType({})
) -> Parameters:
    """The parameters of a prediction, called and limited as in the query of the own routes; None counts as not given.

    Raises InvalidParameter, which says what is allowed, of a name that is ``called`` otherwise in the protocol.
    """
    model = _QUERIES[deployment.manifest.task]
    known = [name for name in model.model_fields if name not in _OF_THE_ROUTES]
    values = {name: value for name, value in given.items() if value is not None}
    for name, value in values.items():
        if name not in known:
            msg = f"Unknown parameter {name[:_SHOWN]!r}: allowed are {', '.join(known)}."
            raise InvalidParameter(msg)
        if isinstance(value, bool) and model.model_fields[name].annotation is not bool:
            values[name] = str(value)  # it would count as 1 or 0
    if isinstance(values.get("classes"), str):
        values["classes"] = [values["classes"]]  # not every protocol has arrays
    try:
        query = model.model_validate(values)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        allowed = allowed_values(model.model_json_schema()["properties"][name])
        msg = f"{called.get(name, name)} = {excerpt(given[name])}: allowed is {allowed}."
        raise InvalidParameter(msg) from error
    match query:
        case ClassifyQuery():
            return classify_parameters(query)
        case DetectQuery():
            return detect_parameters(query, deployment.labels, called.get("classes", "classes"))
        case SegmentQuery():
            return SegmentParameters(query.full_decode)
    raise TypeError(query)


async def predict(
    request: ModelRequest, images: Sequence[Upload | NDArray[np.uint8]], parameters: Parameters
) -> list[Prediction]:
    """The predictions for all images of a request; raises the first error, which names its image if there are several.

    For protocols whose answers have no room for the error of one image.
    """
    most = request.services.settings.max_images_per_request
    if not 0 < len(images) <= most:
        msg = f"The request has {len(images)} images; allowed are 1 to {most}."
        raise InvalidRequest(msg)
    outcomes = await answer_images(request, request.deployment, images, parameters, several=len(images) > 1)
    predictions = []
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, InvalidRequest):
            msg = f"Image {position}: {outcome}"
            raise type(outcome)(msg) from outcome
        if isinstance(outcome, ServiceError):
            raise outcome
        predictions.append(outcome)
    return predictions
