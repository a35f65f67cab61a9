"""What happens to every request, as plain ASGI: request id, Server-Timing, access log.

``BaseHTTPMiddleware`` is not used anywhere: it hides disconnects and copies bodies.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_for
from app.logs import request_id
from app.metrics import OTHER, Metrics
from app.vision.results import Timings

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds by machines
_PROTECTION = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
# Nothing here is a page, whatever a browser takes it for; the one that is brings a policy of its own.
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_CLIENT_CLOSED = 499  # no answer was sent; the number that reverse proxies log for it

access_log = logging.getLogger("app.access")


@dataclass(slots=True)
class RequestNotes:
    """What a route leaves behind for the headers and the log line of its request."""

    timings: list[Timings] = field(default_factory=list)

    def scales(self) -> list[int]:
        """At which fractions 1 / scale of their sides images were decoded, whole ones aside."""
        return sorted({timings.scale for timings in self.timings} - {1})

    def stage_seconds(self) -> dict[str, float]:
        """Stage -> seconds, summed over the images of the request; without ``total``, which is the request's own."""
        sums: dict[str, float] = {}
        for timings in self.timings:
            for stage, seconds in timings.stages().items():
                sums[stage] = sums.get(stage, 0.0) + seconds
        sums.pop("total", None)
        return sums


def notes_of(state: Mapping[str, Any]) -> RequestNotes:
    """The notes of the request whose ASGI ``state`` this is."""
    notes = state["notes"]
    if not isinstance(notes, RequestNotes):
        raise TypeError(notes)
    return notes


class RequestFrame:
    """The outermost layer: whatever happens inside, the answer has its headers, the log its line, and it is counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics, drain: asyncio.Event) -> None:
        self._app = app
        self._metrics = metrics
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        # An id is no secret, and uuid4 asks the system for randomness, which takes 80 microseconds.
        identity = given if _SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        token = request_id.set(identity)
        notes = RequestNotes()
        scope.setdefault("state", {})["notes"] = notes
        status = _CLIENT_CLOSED

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = server_timing(notes.stage_seconds(), time.perf_counter() - began, notes.scales())
                headers = [*message.get("headers", ()), (b"x-request-id", identity.encode()), *_PROTECTION]
                if all(name != _POLICY[0] for name, _ in headers):
                    headers.append(_POLICY)
                headers.append((b"server-timing", timing.encode()))
                if self._drain.is_set():
                    headers.append((b"connection", b"close"))  # the next request goes elsewhere
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            if status != _CLIENT_CLOSED:  # half an answer is out: only the server can end the connection
                raise
            await problem_for(error).response()(scope, receive, send_framed)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.answered(
                scope["method"], route_of(scope), None if status == _CLIENT_CLOSED else status, seconds
            )
            _log(scope, status, seconds, notes)
            request_id.reset(token)


def server_timing(stages: Mapping[str, float], total: float, scales: Sequence[int] = ()) -> str:
    """The Server-Timing header: each stage and the total, in milliseconds; with decode the fractions 1 / scale."""
    entries = {name: f"{name};dur={seconds * 1000:.3f}" for name, seconds in (*stages.items(), ("total", total))}
    if scales:
        entries["decode"] += f';desc="{" ".join(f"1/{scale}" for scale in scales)}"'
    return ", ".join(entries.values())


def route_of(scope: Scope) -> str:
    """The template of the route that a request was for, ``other`` where there is none; never what a client made up."""
    if "route" in scope:
        return str(scope["route"].path)
    # Refused before a route was looked for: its path may be one all the same.
    known = "app" in scope and scope["path"] in scope["app"].openapi()["paths"]
    return scope["path"] if known else OTHER


def _log(scope: Scope, status: int, seconds: float, notes: RequestNotes) -> None:
    level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    extra = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "client": scope["client"][0] if scope.get("client") else None,
        **({"key": scope["state"]["key"]} if "key" in scope["state"] else {}),
        "images": len(notes.timings),
        "duration_ms": round(seconds * 1000, 3),
        **{f"{stage}_ms": round(value * 1000, 3) for stage, value in notes.stage_seconds().items()},
    }
    # Logger.log would look for its caller first, which nobody wants to know and costs as much as writing the line.
    access_log.handle(access_log.makeRecord(access_log.name, level, __file__, 0, "request", (), None, extra=extra))
