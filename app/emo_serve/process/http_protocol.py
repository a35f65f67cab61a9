"""uvicorn's HTTP protocol with limits on what is received, one request at a time and bodies in one piece.

The internals of uvicorn that this relies on are listed in tests/process/test_uvicorn.py.
"""

import asyncio
from collections.abc import Callable
from functools import partial
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
from emo_serve.process.buffers import BodyPieces, Unparsed
from emo_serve.process.connections import Connections
from emo_serve.process.framing import Framing, body_length, fault_of, origin_form, origin_header
from emo_serve.process.transport import CoalescingTransport, Flow

_LARGE_BODY = 512 * 1024  # bytes; most photos have less
_MOST_WAITING = 64 * 1024  # bytes that are read behind an unanswered request
_MOST_DISCARDED = 16 * 1024 * 1024  # bytes that are read after a refusal
_LEAST_SILENCE_SECONDS = 1.0  # a new connection is not idle at once


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on a transport that sends responses in one piece.

    The application gets a usual body whole, instead of being woken for each piece, and learns at once when the
    connection has ended. Data behind a request waits, unparsed, until that is answered. A malformed or excessive
    request is passed on with a ``fault``, which the application answers.
    """

    is_lost = False
    has_all = False
    is_shed = False
    """True if the connection is to end after the current response."""

    def __init__(  # uvicorn's signature with additional arguments
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        limits: HttpLimits | None = None,
        connections: Connections | None = None,
    ) -> None:
        """Without ``connections`` their number is not limited."""
        super().__init__(config, server_state, app_state, _loop)
        self.on_lost: Callable[[], None] | None = None
        self.fault: Exception | None = None
        self._limits = limits or HttpLimits()
        self._connections = connections
        self._release: Callable[[], None] = lambda: None
        self._extensions = {CONNECTION: self}
        self._framing = Framing(self._limits)
        self._is_begun = False  # the parser is inside a request
        self._is_replayed = False
        self._unparsed = Unparsed()
        self._pieces = BodyPieces()
        self._discarded = 0  # bytes after a fault
        self._client_has_ended = False

    # ---- connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        """Expect a request, or refuse the connection."""
        super().connection_made(transport)
        self.transport: CoalescingTransport = CoalescingTransport(transport, self.loop)
        self.flow: Flow = Flow(transport)
        if self._connections is not None:
            address = self.client[0] if self.client else ""
            try:
                self._connections.enter(address)
            except Unavailable as error:
                self._connections.add_rejected(self.transport.abort)
                self._release = partial(self._connections.discard_rejected, self.transport.abort)
                self._refuse(error)
                return
            self._release = partial(self._connections.leave, address)
        silence = max(self.timeout_keep_alive, _LEAST_SILENCE_SECONDS)
        self._expect_within(min(silence, self._limits.head_timeout_seconds))

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection and notify the application."""
        self.transport.cancel_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self.is_lost = True
        self._release()
        if self.on_lost is not None:
            self.on_lost()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's signature
        """Stay open if a whole request is to be answered: only sending shows if the client is still there."""
        self._client_has_ended = True
        self.transport.lingers = False  # nothing more can arrive
        if self.transport.is_closing() or not self._is_busy:
            return None
        self.transport.keep_open(has_begun=self.cycle.response_started)
        return True

    def pause_writing(self) -> None:
        """Limit the time that the client has for taking its response."""
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

    # ---- received data ---------------------------------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        """True while a whole request, or a fault, is not answered yet."""
        return self.has_all and self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Parse received data up to the end of a request that has to be answered first."""
        if self.fault is not None:
            self._discarded += len(data)
            if self._discarded > _MOST_DISCARDED:
                self.flow.pause_reading()
            return
        self._unparsed.add(data)
        self._advance()

    def _advance(self) -> None:
        unparsed, framing = self._unparsed, self._framing
        while unparsed and not self._is_busy and not self.transport.is_closing():
            self._take(unparsed.take(framing))
        if not unparsed or self.fault is not None or self.transport.is_closing():
            unparsed.clear()
        self.flow.is_full = len(unparsed) > _MOST_WAITING
        if self.flow.is_full:
            self.flow.pause_reading()
        if self._pieces and framing.is_chunked:
            self._pass_on()
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
        is_late = framing.is_in_head and framing.head.size and self.fault is None
        if is_late and self.timeout_keep_alive_task is None:
            self._expect_within(self._limits.head_timeout_seconds)

    def _take(self, piece: bytes) -> None:
        framing = self._framing
        if not framing.head.size:
            self._unset_keepalive_if_required()  # no longer idle
        is_chunked, data = framing.is_chunked, framing.data
        try:
            framing.expect(piece)
            self.parser.feed_data(piece)
            if is_chunked and framing.is_chunked:
                framing.check_chunks(piece, framing.data - data)
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except (HTTPException, httptools.HttpParserError) as error:
            self._refuse(fault_of(error))

    def _ignore_upgrade(self) -> None:
        """Go on with the body of a request that offers an upgrade, which the parser takes as accepted."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._is_replayed = True
        self.parser.feed_data(self._framing.replayed_head())
        self._is_replayed = False

    def _refuse(self, fault: Exception) -> None:
        """Have the application answer the fault, and discard further data."""
        self.fault = fault
        self.has_all = True
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self.transport.lingers = not self._client_has_ended
        if self._framing.is_in_head:
            self._complete_head()
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
        self.flow.is_full = False
        self.flow.resume_reading()

    def _complete_head(self) -> None:
        """Complete a request from the part of the head that was parsed."""
        if not self._is_begun:
            self.on_message_begin()
        self.has_all, self.expect_100_continue = True, False
        if not any(name == b"origin" for name, _ in self.headers):
            self.headers += origin_header(self._unparsed.data)  # CORS needs it for the response
        target, self.url = self.url.partition(b"?")[0], b"/"
        super().on_headers_complete()
        self.cycle.keep_alive = False
        if not target:
            self.scope["method"] = ""  # not parsed yet
        self.scope["path"], self.scope["raw_path"] = target.decode("latin-1"), target

    # ---- callbacks of the parser -----------------------------------------------------------------------------------

    @property
    def is_ending(self) -> bool:
        """True if the response to the current request is the last: no other request has arrived behind it."""
        return self.is_shed and not self._unparsed

    def on_message_begin(self) -> None:
        """Begin a request and give the application access to the connection."""
        if self._is_replayed:
            return
        super().on_message_begin()
        self._is_begun = True
        self.has_all = self._pieces.is_discarded = False
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # others are plain dicts

    def on_url(self, url: bytes) -> None:
        """Add a part of the target, except of a replayed head."""
        if not self._is_replayed:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header as uvicorn does, but no trailer."""
        if not self._framing.is_in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head and start the application, once."""
        if self._is_replayed:
            return
        protocol = self._framing.head.protocol
        if protocol == "HTTP/1.0":  # it knows no interim response (RFC 9110, section 10.1.1)
            self.expect_100_continue = False
        length = body_length(self.parser.get_method(), protocol, self.headers)
        self.url = origin_form(self.url)
        super().on_headers_complete()
        self._framing.begin_body(length)
        self._unset_keepalive_if_required()

    def discard_body(self) -> None:
        """Discard the body received so far, and the rest of it."""
        self._pieces.discard()

    def on_body(self, body: bytes) -> None:
        """Collect the body until it is complete or large; a chunked one until all received data is parsed."""
        self._framing.data += len(body)
        if self._pieces.is_discarded or self.cycle.response_complete:
            return
        self._pieces.add(body)
        if self._pieces.size > _LARGE_BODY:
            self.flow.pause_reading()
            self._pass_on()

    def on_message_complete(self) -> None:
        """Pass the rest of the body to the application."""
        if self.parser.should_upgrade():
            return  # the body follows
        self.has_all = True
        self._is_begun = False
        self._framing.reset()
        self._pass_on()
        super().on_message_complete()

    def _pass_on(self) -> None:
        if self._pieces:
            # uvicorn only copies and replaces its body, which costs nothing with bytes.
            self.cycle.body = self._pieces.take(self.cycle.body)  # type: ignore[assignment]
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Send a response without a body, too; go on with the data behind the request."""
        self.transport.flush()
        self.flow.is_full = False  # ``_advance`` sets it again if necessary
        super().on_response_complete()
        if not self.has_all:  # nobody reads the rest of the body, which may be endless
            self.transport.lingers = not self._client_has_ended
            self.transport.close()
            return
        if self._unparsed:
            self._advance()
        if self._client_has_ended and not self._is_busy:
            self.transport.close()
