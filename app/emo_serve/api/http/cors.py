"""CORS: pages of other origins that may use this server from a browser, if any (``EMO_CORS_ORIGINS``)."""

from collections.abc import Callable, Collection, Iterable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.wire.problems import problem_for

EXPOSED = (
    "Allow",
    "Inference-Header-Content-Length",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Failed-Images",
    "X-Request-Id",
)
"""The headers of answers that a page may read beside the usual ones."""
_USUAL = ("GET", "HEAD", "POST")
"""Allowed where there is no route, so that a page can read the 404."""


def cors_layer(origins: Collection[str], routes: Iterable[BaseRoute]) -> Callable[[ASGIApp], ASGIApp]:
    """Wraps an application so that pages of ``origins`` may use it from a browser.

    A page never gets to send cookies or the like: who may ask is decided by keys. Its methods are those that the
    ``routes`` have for the path, and usual ones where there is none.
    """
    known = [(route.path_regex, route.methods) for route in routes if isinstance(route, Route) and route.methods]

    def methods_of(path: str) -> list[str]:
        return sorted({method for regex, methods in known if regex.match(path) for method in methods}) or list(_USUAL)

    def wrap(app: ASGIApp) -> ASGIApp:
        usual = _Cors(app, origins, _USUAL)

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            is_preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
            cors = _Cors(app, origins, methods_of(scope["path"])) if is_preflight else usual
            await cors(scope, receive, send)

        return wrapped

    return wrap


class _Cors(CORSMiddleware):
    """Refuses by a problem document."""

    def __init__(self, app: ASGIApp, origins: Collection[str], methods: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=methods,
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=EXPOSED,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks before it sends."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        reason = bytes(response.body).decode()
        detail = f"{reason}: allowed are {', '.join(self.allow_origins)}, with {', '.join(self.allow_methods)}."
        refusal = problem_for(HTTPException(400, detail)).response()
        refusal.headers["Vary"] = response.headers["Vary"]
        return refusal
