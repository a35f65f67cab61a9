"""What happens to every request, as plain ASGI: the exchange around it, what stands for its errors, its log line.

``BaseHTTPMiddleware`` is not used anywhere: it hides disconnects and copies bodies.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from types import MappingProxyType

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.exchange import Exchange
from emo_serve.api.wire.paths import Paths
from emo_serve.api.wire.problems import problem_for
from emo_serve.logs import request_id
from emo_serve.metrics.definitions import OTHER, Metrics

_QUIET = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds by machines
_CLIENT_CLOSED = 499  # no answer was sent; the number that reverse proxies log for it

access_log = logging.getLogger("emo_serve.access")
_RECORD = MappingProxyType(
    vars(logging.LogRecord(access_log.name, logging.INFO, __file__, 0, "request", (), None))
)  # what is the same in every line


class RequestFrame:
    """The outermost layer: whatever happens inside, there is an answer, the log has its line, and it is counted."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        drain: asyncio.Event,
        max_bytes: int,
        paths: Paths | None = None,
        dress: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        """``max_bytes`` and ``drain`` are those of ``Exchange``; ``dress`` adds to every answer, errors too."""
        self._app = dress(app)
        self._dress = dress
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
        self._paths.settle(scope, exchange.headers)
        token = request_id.set(exchange.request_id)
        try:
            exchange.check_wire()
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            if exchange.status is not None:  # half an answer is out: only the server can end the connection
                raise
            await self._dress(problem_for(error).response())(scope, exchange.receive, exchange.send)
        finally:
            seconds = time.perf_counter() - exchange.began
            self._metrics.answered(scope["method"], route_of(scope), exchange.status, seconds)
            _log(scope, exchange, seconds)
            request_id.reset(token)
            # The server keeps the scope until the connection's next request, and the exchange the server's end of it:
            # the model of an answer would stay in memory as long, or in a circle.
            scope["state"].clear()
        await exchange.linger()


def route_of(scope: Scope) -> str:
    """The template of the route that a request was for, ``other`` where there is none; never what a client made up."""
    if "route" in scope:
        return str(scope["route"].path)
    # Refused before a route was looked for: its path may be one all the same.
    known = "app" in scope and scope["path"] in scope["app"].openapi()["paths"]
    return scope["path"] if known else OTHER


def _log(scope: Scope, exchange: Exchange, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    record = logging.LogRecord.__new__(logging.LogRecord)  # to make one from nothing costs as much as to write the line
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
