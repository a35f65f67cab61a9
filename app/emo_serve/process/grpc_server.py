"""gRPC: a listening server of its own, whose calls become requests of the application that ``create_grpc_app`` makes.

HTTP/2, its limits and its flow control are grpcio's. A message is taken from the connection only when its key has been
checked and there is room for the largest message that is allowed; until then no more than 64 kB of it are read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message

from emo_serve.api.http.admission import TIMEOUT_HEADER
from emo_serve.api.http.auth import shown_key
from emo_serve.api.http.exchange import CONNECTION
from emo_serve.api.http.services import Services
from emo_serve.api.protocols.grpc_inference import ADAPTER, PUSHBACK_HEADER, STATUS_HEADER, STREAM_PATH, stream_error
from emo_serve.main import create_grpc_app
from emo_serve.process.grpc_arrivals import Arrivals, Displaced
from emo_serve.process.listeners import authority
from emo_serve.settings import Settings

Context = Any
"""A ``grpc.aio.ServicerContext``; grpcio comes without types."""
_Read = Callable[[], Awaitable[bytes | None]]
"""Gives the message of a call; None if there is none."""

_STREAM_BYTES = 65_536  # of a message that is not asked for yet
_STREAMS = 256  # calls at a time of one connection; more wait at the client
_AGE_SECONDS = 300  # of a connection; clients open another, which may meet a worker with fewer
_PING_SECONDS = 10  # the least time between two of a client's
_REFUSING_SECONDS = 0.2
_SHUTTING_DOWN = "The server is shutting down."
_SILENT = "The message did not come, and others were waiting; call again when it is there."
_LONGEST_TEXT = 1500  # bytes of an error; clients take 8 kB of trailing metadata
_OF_HTTP = frozenset({"content-length", "transfer-encoding", "content-encoding"})  # gRPC has its own words for them
_PASSED_ON = ("x-request-id", "server-timing", "retry-after", PUSHBACK_HEADER)
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

logger = logging.getLogger(__name__)


class GrpcServer:
    """Serves calls on ``grpc_port``; used on one event loop, once."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._app = create_grpc_app(services)
        self._address = authority(settings.host, settings.grpc_port or 0)
        self._keys = services.keys
        # As many messages arrive at a time as have room even if each is as large as is allowed, and two of probes.
        self._arrivals = Arrivals(max(1, settings.max_inflight_bytes // settings.max_request_bytes))
        self._probes = Arrivals(2)
        self._stopping = asyncio.Event()
        self._server = grpc.aio.server(
            handlers=self._handlers(),
            options=_options(settings),
            maximum_concurrent_rpcs=settings.http.max_connections,
        )

    async def start(self) -> None:
        """Listen; raises OSError, which names the unavailable address."""
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            msg = f"cannot listen on {self._address} for gRPC"
            raise OSError(msg) from error
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls and finish those that are there, a stream's present request, within so many seconds.

        A call that comes while grpcio stops is CANCELLED, which tells nobody to try again. So calls are refused as
        UNAVAILABLE first, for a moment in which those end that are on their way.
        """
        self._stopping.set()
        await asyncio.sleep(_REFUSING_SECONDS)
        await self._server.stop(seconds)

    def _handlers(self) -> list[Any]:
        """A handler for each service; its methods take messages as bytes, and when they ask for them."""
        services: dict[str, dict[str, Any]] = {}
        for route in ADAPTER.routes:
            _, service, method = route.path.split("/")
            handler = grpc.stream_unary_rpc_method_handler(partial(self._answer, route.path))
            if route.path == STREAM_PATH:
                handler = grpc.stream_stream_rpc_method_handler(self._answer_stream)
            services.setdefault(service, {})[method] = handler
        return [grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items()]

    async def _answer(self, path: str, _messages: object, context: Context) -> bytes:
        if self._stopping.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, _SHUTTING_DOWN)
        arrivals = self._probes if path in ADAPTER.open_paths else self._arrivals
        call = _Call(self._app, path, context, partial(arrivals.read, context))
        await call.run()
        context.set_trailing_metadata(call.trailing_metadata)
        if call.error is not None:
            await context.abort(call.error, call.text)
        return call.body

    async def _answer_stream(self, _messages: object, context: Context) -> None:
        """Answer the requests of a stream one after the other, until the client or this server ends it."""
        if self._keys is not None:
            try:
                self._keys.name_of(shown_key(Headers(raw=_headers(context))))
            except HTTPException as error:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.detail)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                reading = asyncio.ensure_future(self._arrivals.read(context))
                await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    await context.abort(grpc.StatusCode.UNAVAILABLE, _SHUTTING_DOWN)
                try:
                    message = await reading
                except Displaced:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, _SILENT)
                if message is None:
                    return
                call = _Call(self._app, STREAM_PATH, context, partial(_given, message))
                await call.run()
                await context.write(call.body if call.error is None else stream_error(call.text))
        finally:
            stopping.cancel()


async def _given(message: bytes) -> bytes:
    return message


class _Call:
    """One message and its answer, as a request of the application; as its connection, it says what has arrived."""

    def __init__(self, app: FastAPI, path: str, context: Context, read: _Read) -> None:
        self._app = app
        self._path = path
        self._context = context
        self._read = read
        self.body = b""
        self.error: grpc.StatusCode | None = grpc.StatusCode.CANCELLED  # what nobody hears if nothing is sent
        self.trailing_metadata: tuple[tuple[str, str], ...] = ()
        # What an ``Exchange`` asks of a connection.
        self.is_lost = False
        self.has_all = False
        self.on_lost: Callable[[], None] | None = None
        self.fault: Exception | None = None
        self.is_ending = False

    @property
    def text(self) -> str:
        """What the error says, cut where it is too long for a client."""
        return self.body[:_LONGEST_TEXT].decode(errors="ignore")

    def discard_body(self) -> None:
        """Nothing: what is not asked for does not arrive."""
        self.has_all = True

    async def run(self) -> None:
        """Have the application answer."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": _headers(self._context),
            "client": _address(self._context.peer()),
            "server": None,
            "extensions": {CONNECTION: self},
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self.has_all:
            return {"type": "http.disconnect"}
        try:
            message = await self._read()
        except Displaced:
            self.error, self.body = grpc.StatusCode.UNAVAILABLE, _SILENT.encode()
            return {"type": "http.disconnect"}
        finally:
            self.has_all = True
        if message is None:
            self.error, self.body = grpc.StatusCode.INVALID_ARGUMENT, b"The call has no message."
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": message}

    async def _send(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            self.body += message.get("body", b"")
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        code = headers.get(STATUS_HEADER)
        self.error = None if code is None else _CODES[int(code)]
        self.trailing_metadata = tuple((name, headers[name]) for name in _PASSED_ON if name in headers)


def _headers(context: Context) -> list[tuple[bytes, bytes]]:
    """The metadata as headers, without what speaks of the message as HTTP would; a deadline is one of them."""
    headers = [
        (name.encode(), value.encode())
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str) and name not in _OF_HTTP
    ]
    remaining = context.time_remaining()
    if remaining is None:
        return headers
    deadline = TIMEOUT_HEADER.lower().encode()
    milliseconds = max(1, int(remaining * 1000))
    return [*(header for header in headers if header[0] != deadline), (deadline, b"%d" % milliseconds)]


def _address(peer: str) -> tuple[str, int] | None:
    """Host and port of a peer, as ``ipv4:127.0.0.1:80`` or ``ipv6:%5B::1%5D:80``."""
    family, _, address = unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if family in {"ipv4", "ipv6"} and port.isdigit() else None


def _options(settings: Settings) -> list[tuple[str, int]]:
    """What grpcio calls our limits."""
    idle = max(1, settings.keep_alive_seconds) * 1000
    return [
        ("grpc.so_reuseport", 1),  # each worker listens, and the system chooses between them
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.http.max_line_bytes),
        ("grpc.absolute_max_metadata_size", settings.http.max_head_bytes),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_allowed_incoming_connections", settings.http.max_connections),
        ("grpc.server_handshake_timeout_ms", int(settings.http.head_timeout_seconds * 1000)),
        ("grpc.max_connection_idle_ms", idle),
        ("grpc.max_connection_age_ms", _AGE_SECONDS * 1000),
        ("grpc.keepalive_time_ms", idle),
        ("grpc.keepalive_timeout_ms", int(settings.http.head_timeout_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _PING_SECONDS * 1000),
        ("grpc.http2.bdp_probe", 0),  # else a connection is given a window of megabytes
        ("grpc.http2.lookahead_bytes", _STREAM_BYTES),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what it grows to has no limit
    ]
