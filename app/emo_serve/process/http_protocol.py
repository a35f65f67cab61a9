"""uvicorn's HTTP: bounded while it is read, one request at a time, with bodies that come in one piece.

What of uvicorn's internals this relies on is named in tests/process/test_uvicorn.py.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httptools
import uvicorn
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from emo_serve.api.http.exchange import CONNECTION
from emo_serve.errors import Unavailable
from emo_serve.limits import HttpLimits
from emo_serve.process.connections import Connections
from emo_serve.process.framing import Framing, body_length, malformed, origin_form
from emo_serve.process.transport import Flow, OnePiece

_MUCH = 512 * 1024  # bytes; most photos have less
_MOST_WAITING = 64 * 1024  # bytes behind a request that is not answered yet; no more are read then
_MOST_THROWN_AWAY = 16 * 1024 * 1024  # bytes of a client that was refused; no more are read then
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]*)\r\n", re.IGNORECASE)
_LEAST_SILENCE_SECONDS = 1.0  # a new connection is not idle as soon as it is there


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own, on a transport that sends answers in one piece.

    The application gets a usual body whole, instead of being woken for each piece, and gets to know at once when the
    connection has ended. What comes behind a request waits as it is until that is answered. What is no request, or too
    much of one, becomes one with a ``fault``: the application has the answer to it.
    """

    is_lost = False
    has_all = False
    is_shed = False
    """Whether it is to end as soon as that costs nothing."""

    def __init__(  # as uvicorn has it, and what it does not know
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        limits: HttpLimits | None = None,
        connections: Connections | None = None,
    ) -> None:
        """Without ``connections`` any number is taken."""
        super().__init__(config, server_state, app_state, _loop)
        self.on_lost: Callable[[], None] | None = None
        self.fault: Exception | None = None
        self._limits = limits or HttpLimits()
        self._connections = connections
        self._is_counted = False
        self._extensions = {CONNECTION: self}
        self._framing = Framing(self._limits)
        self._is_begun = False  # the parser has begun with a request and not come to its end
        self._is_replayed = False
        self._waiting = b""  # what has come and is not taken apart, from here on:
        self._at = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._discards = False
        self._thrown_away = 0
        self._client_has_ended = False

    # ---- the connection --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a request, or turn the client away."""
        super().connection_made(transport)
        self.transport: OnePiece = OnePiece(transport, self.loop)
        self.flow: Flow = Flow(transport)
        if self._connections is not None:
            try:
                self._connections.enter(self._address)
            except Unavailable as error:
                self._connections.turn_away(self.transport.abort)
                self._refuse(error)
                return
            self._is_counted = True
        silence = max(self.timeout_keep_alive, _LEAST_SILENCE_SECONDS)
        self._expect_within(min(silence, self._limits.head_timeout_seconds))

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self.transport.forget()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self.is_lost = True
        if self._connections is not None:
            if self._is_counted:
                self._connections.leave(self._address)
            else:
                self._connections.gone(self.transport.abort)
        if self.on_lost is not None:
            self.on_lost()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # as asyncio has it
        """Go on where a whole request is to be answered: that its client is still there, only sending to it shows."""
        self._client_has_ended = True
        self.transport.lingers = False  # nothing can come any more
        if self.transport.is_closing() or not self._is_busy:
            return None
        self.transport.stay(has_begun=self.cycle.response_started)
        return True

    def pause_writing(self) -> None:
        """Do not wait for ever until the client takes its answer."""
        super().pause_writing()
        self.transport.watch()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; refuse a head that takes too long."""
        self.timeout_keep_alive_task = None
        if self._framing.head.size:
            seconds = self._limits.head_timeout_seconds
            self._refuse(HTTPException(408, f"The head of the request did not arrive within {seconds:g} seconds."))
        else:
            super().timeout_keep_alive_handler()

    def _expect_within(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    # ---- what comes ------------------------------------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        """Whether there is a whole request, or a fault, that is not answered yet."""
        return self.has_all and self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take apart what has come, as far as the end of a request that has to be answered first."""
        if self.fault is not None:
            self._thrown_away += len(data)
            if self._thrown_away > _MOST_THROWN_AWAY:
                self.flow.pause_reading()
            return
        self._waiting = self._waiting[self._at :] + data if self._waiting else data
        self._at = 0
        self._advance()

    def _advance(self) -> None:
        data, framing = self._waiting, self._framing
        while self._at < len(data) and not self._is_busy and not self.transport.is_closing():
            start, self._at = self._at, framing.piece_end(data, self._at)
            self._take(data[start : self._at])
        if self._at == len(data) or self.fault is not None or self.transport.is_closing():
            self._waiting, self._at = b"", 0
        self.flow.is_full = len(self._waiting) - self._at > _MOST_WAITING
        if self.flow.is_full:
            self.flow.pause_reading()
        if self._pieces and framing.is_chunked:
            self._pass_on()
            self.cycle.message_event.set()
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
        is_late = framing.is_in_head and framing.head.size and self.fault is None
        if is_late and self.timeout_keep_alive_task is None:
            self._expect_within(self._limits.head_timeout_seconds)

    def _take(self, piece: bytes) -> None:
        framing = self._framing
        if not framing.head.size:
            self._unset_keepalive_if_required()  # it is not idle any more
        is_chunked, data = framing.is_chunked, framing.data
        try:
            framing.expect(piece)
            self.parser.feed_data(piece)
            if is_chunked and framing.is_chunked:
                framing.check_chunks(piece, framing.data - data)
        except httptools.HttpParserUpgrade:
            self._stay()
        except HTTPException as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            cause = error.__context__ or error
            self._refuse(cause if isinstance(cause, HTTPException) else malformed(cause))

    def _stay(self) -> None:
        """Go on with the body of a request that offers another protocol, which the parser takes for that protocol."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        framing = self._framing
        body = b"Transfer-Encoding: chunked" if framing.is_chunked else b"Content-Length: %d" % framing.left
        self._is_replayed = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n\r\n" % body)
        self._is_replayed = False

    def _refuse(self, fault: Exception) -> None:
        """Have the application answer the fault, and throw away what still comes."""
        self.fault = fault
        self.has_all = True
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self.transport.lingers = not self._client_has_ended
        if self._framing.is_in_head:
            self._answer_head()
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
        self.flow.is_full = False
        self.flow.resume_reading()

    def _answer_head(self) -> None:
        """Make a request of what there is of one."""
        if not self._is_begun:
            self.on_message_begin()
        self.has_all, self.expect_100_continue = True, False
        origin = _ORIGIN.search(self._waiting)  # the parser has not come to it, but the page wants to read the answer
        if origin and not any(name == b"origin" for name, _ in self.headers):
            self.headers.append((b"origin", origin[1]))
        target, self.url = self.url.partition(b"?")[0], b"/"
        super().on_headers_complete()
        self.cycle.keep_alive = False
        if not target:
            self.scope["method"] = ""  # the parser has not come so far
        self.scope["path"], self.scope["raw_path"] = target.decode("latin-1"), target

    # ---- what the parser finds -------------------------------------------------------------------------------------

    @property
    def is_ending(self) -> bool:
        """Whether the answer to the running request is the last: no other request has come behind it."""
        return self.is_shed and not self._waiting

    def on_message_begin(self) -> None:
        """Let the application have the connection."""
        if self._is_replayed:
            return
        super().on_message_begin()
        self._is_begun = True
        self.has_all = self._discards = False
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # others are plain values

    def on_url(self, url: bytes) -> None:
        """Pass it on."""
        if not self._is_replayed:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it as uvicorn does, unless it is a trailer."""
        if not self._framing.is_in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head, once, and let the application have it."""
        if self._is_replayed:
            return
        length = body_length(self.parser.get_method(), self.parser.get_http_version(), self.headers)
        self.url = origin_form(self.url)
        super().on_headers_complete()
        self._framing.begin_body(length)
        self._unset_keepalive_if_required()

    def discard_body(self) -> None:
        """Throw away what has come of the body, and what will come."""
        self._discards = True
        self._pieces.clear()
        self._size = 0

    def on_body(self, body: bytes) -> None:
        """Keep it until it is all there, or much; one of unknown length until all that has come is taken apart."""
        self._framing.data += len(body)
        if self._discards or self.cycle.response_complete:
            return
        self._pieces.append(body)
        self._size += len(body)
        if self._size > _MUCH:
            self.flow.pause_reading()
            self._pass_on()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Let the application have the rest."""
        if self.parser.should_upgrade():
            return  # the body comes now
        self.has_all = True
        self._is_begun = False
        self._framing.reset()
        self._pass_on()
        super().on_message_complete()

    def _pass_on(self) -> None:
        if self._pieces:
            # uvicorn only copies and replaces what is there, which is free where it is bytes.
            self.cycle.body = b"".join((self.cycle.body, *self._pieces))  # type: ignore[assignment]
            self._pieces.clear()
            self._size = 0

    def on_response_complete(self) -> None:
        """Send an answer that has no body too; go on with what waits behind the request."""
        self.transport.flush()
        self.flow.is_full = False  # or what waits says so again
        super().on_response_complete()
        if not self.has_all:  # nobody would read the rest of the body, and there may be no end of it
            self.transport.lingers = not self._client_has_ended
            self.transport.close()
            return
        if self._waiting:
            self._advance()
        if self._client_has_ended and not self._is_busy:
            self.transport.close()
