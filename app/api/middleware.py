"""What happens to every request, as plain ASGI: request id, Server-Timing, access log.

``BaseHTTPMiddleware`` is not used anywhere: it hides disconnects and copies bodies.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_for
from app.logs import request_id
from app.vision.results import Timings

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds by machines
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
    """The outermost layer: whatever happens inside, the answer has its headers and the log its line."""

    def __init__(self, app: ASGIApp, drain: asyncio.Event) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(identity)
        notes = RequestNotes()
        scope.setdefault("state", {})["notes"] = notes
        status = _CLIENT_CLOSED

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = identity
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Server-Timing"] = server_timing(
                    notes.stage_seconds(), time.perf_counter() - began, notes.scales()
                )
                if self._drain.is_set():
                    headers["Connection"] = "close"  # the next request goes elsewhere
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
            _log(scope, status, time.perf_counter() - began, notes)
            request_id.reset(token)


def server_timing(stages: Mapping[str, float], total: float, scales: Sequence[int] = ()) -> str:
    """The Server-Timing header: each stage and the total, in milliseconds; with decode the fractions 1 / scale."""
    entries = {name: f"{name};dur={seconds * 1000:.3f}" for name, seconds in (*stages.items(), ("total", total))}
    if scales:
        entries["decode"] += f';desc="{" ".join(f"1/{scale}" for scale in scales)}"'
    return ", ".join(entries.values())


def _log(scope: Scope, status: int, seconds: float, notes: RequestNotes) -> None:
    level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    access_log.log(
        level,
        "request",
        extra={
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "client": scope["client"][0] if scope.get("client") else None,
            "images": len(notes.timings),
            "duration_ms": round(seconds * 1000, 3),
            **{f"{stage}_ms": round(value * 1000, 3) for stage, value in notes.stage_seconds().items()},
        },
    )
