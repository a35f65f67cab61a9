"""Pages of other origins that may ask this server from a browser, where any may (``EMO_CORS_ORIGINS``)."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from emo_serve.api.wire.problems import problem_for

EXPOSED = ("Allow", "Retry-After", "Server-Timing", "WWW-Authenticate", "X-Failed-Images", "X-Request-Id")
"""The headers of answers that a page may read beside the usual ones."""
_METHODS = ("GET", "HEAD", "POST")


def across_origins(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The application with what a browser wants to see in each of its answers, for pages of ``origins``.

    A page never gets to send cookies or the like: who may ask is decided by keys.
    """
    return _Cors(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=("*",),
        allow_private_network=True,
        expose_headers=EXPOSED,
    )


class _Cors(CORSMiddleware):
    """Refuses by a problem document."""

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
