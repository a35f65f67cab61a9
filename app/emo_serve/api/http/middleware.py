"""Outermost ASGI layer: the exchange around every request, responses for its errors, its log line and metrics.

``BaseHTTPMiddleware`` is not used anywhere: it hides disconnects and copies bodies.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from types import MappingProxyType

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.exchange import Exchange, StartTrace
from emo_serve.api.wire.paths import Paths
from emo_serve.api.wire.problems import ErrorResponse, problem_response
from emo_serve.logs import request_id, trace_id
from emo_serve.metrics.definitions import OTHER, Metrics

_POLLED = frozenset({"/livez", "/readyz", "/metrics"})
_CLIENT_CLOSED = 499  # nothing was sent; the number that reverse proxies log

access_log = logging.getLogger("emo_serve.access")
_RECORD = MappingProxyType(
    vars(logging.LogRecord(access_log.name, logging.INFO, __file__, 0, "request", (), None))
)  # the attributes that every log line shares


class RequestMiddleware:
    """Guarantees a response, a log line and a metric for every request, whatever happens inside."""

    def __init__(  # noqa: PLR0913  what differs between the three applications
        self,
        app: ASGIApp,
        metrics: Metrics,
        drain: asyncio.Event,
        max_bytes: int,
        paths: Paths | None = None,
        wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
        error_response: ErrorResponse = problem_response,
        start_trace: StartTrace | None = None,
        *,
        probes: frozenset[str] = frozenset(),
    ) -> None:
        """``max_bytes`` and ``drain`` are passed to ``Exchange``; ``wrap`` wraps everything that sends a response.

        ``error_response`` answers what is raised inside. ``start_trace`` traces what is not polled; ``probes`` are
        the paths that are polled beside the own ones.
        """
        self._polled = _POLLED | probes
        self._start_trace = start_trace
        self._error_response = error_response
        self._app = wrap(app)
        self._wrap = wrap
        self._metrics = metrics
        self._drain = drain
        self._max_bytes = max_bytes
        self._paths = paths or Paths()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._max_bytes, self._drain)
        scope.setdefault("state", {})["exchange"] = exchange
        self._paths.resolve(scope, exchange.headers)
        token = request_id.set(exchange.request_id)
        if self._start_trace is not None and scope["path"] not in self._polled:
            exchange.trace = self._start_trace(scope, exchange)
            trace_id.set(exchange.trace.trace_id)
        try:
            exchange.check()
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception as error:
            if exchange.status is not None:  # part of a response is sent: only the server can close the connection
                raise
            await self._wrap(self._error_response(scope, error))(scope, exchange.receive, exchange.send)
        finally:
            seconds = time.perf_counter() - exchange.began
            route = route_of(scope)
            self._metrics.answered(scope["method"], route, exchange.status, seconds)
            _log(scope, exchange, seconds, logging.DEBUG if scope["path"] in self._polled else logging.INFO)
            if exchange.trace is not None:
                exchange.trace.end(exchange, route, seconds)
                trace_id.set(None)
            request_id.reset(token)
            # The server keeps the scope until the connection's next request, and the exchange refers to the server:
            # the model of a response would stay in memory that long, or in a reference cycle.
            scope["state"].clear()
        if exchange.is_held:
            await exchange.lingering_close()


def route_of(scope: Scope) -> str:
    """The path template of the request's route, ``other`` if there is none; never text from the client."""
    if "route" in scope:
        return str(scope["route"].path)
    # Refused before routing: its path may be that of a route nevertheless.
    known = "app" in scope and scope["path"] in scope["app"].openapi()["paths"]
    return scope["path"] if known else OTHER


def _log(scope: Scope, exchange: Exchange, seconds: float, level: int) -> None:
    if not access_log.isEnabledFor(level):
        return
    record = logging.LogRecord.__new__(logging.LogRecord)  # its constructor costs as much as writing the line
    record.__dict__ = {
        **_RECORD,
        "created": time.time(),
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "method": scope["method"],
        "path": scope["path"],
        "status": exchange.status or _CLIENT_CLOSED,
        "client": scope["client"][0] if scope.get("client") else None,
        **({"key": scope["state"]["key"]} if "key" in scope["state"] else {}),
        "images": len(exchange.timings),
        "duration_ms": round(seconds * 1000, 3),
        **{f"{stage}_ms": round(value * 1000, 3) for stage, value in exchange.stages.items()},
    }
    access_log.handle(record)
