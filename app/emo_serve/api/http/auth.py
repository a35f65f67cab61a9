"""Authentication: API keys of clients, with their rate limits, and the token of the administration."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping
from functools import partial

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.wire.problems import ErrorResponse, problem_response
from emo_serve.errors import RateExceeded, StartupError
from emo_serve.files import read_regular
from emo_serve.settings import Settings

KEY_HEADER = "X-API-Key"
OPEN_PATHS = frozenset(
    {"/", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json", "/livez", "/readyz"}
)
"""Paths that need no key to be read: the probes of orchestrators, and the API description, which reveals nothing."""
SHOW_KEY = "show_key"
"""In the request's state: what a route calls with the key that it has found in the body, before anything else."""

_READING = frozenset({"GET", "HEAD"})

_LEAST_CHARACTERS = 16  # of a token
_MAX_TOKEN_BYTES = 4096
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="emo-serve"'}


class RateLimiter:
    """Limits of one client: requests per second, in bursts of at most one second's worth, and concurrent requests."""

    def __init__(self, per_second: float | None, at_a_time: int | None) -> None:
        self._per_second = per_second
        self._at_a_time = at_a_time
        self._under_way = 0
        self._paid_until = 0.0  # the time up to which the admitted requests have used up the rate

    def acquire(self, now: float) -> None:
        """Admit a request; ``now`` in seconds. Raises RateExceeded."""
        if self._at_a_time is not None and self._under_way >= self._at_a_time:
            msg = f"This API key has {self._under_way} requests under way; allowed are {self._at_a_time} at a time."
            raise RateExceeded(msg, 1.0)
        if self._per_second is not None:
            paid_until = max(self._paid_until, now) + 1 / self._per_second
            wait = paid_until - now - max(1.0, 1 / self._per_second)
            if wait > 1e-9:  # less is rounding
                msg = f"This API key may make {self._per_second:g} requests a second; come back in {wait:.3f} seconds."
                raise RateExceeded(msg, wait)
            self._paid_until = paid_until
        self._under_way += 1

    def release(self) -> None:
        """Count an admitted request as ended."""
        self._under_way -= 1


class ApiKeys:
    """The API keys of a process, and what each of their owners may ask for, on whichever port."""

    def __init__(
        self,
        keys: Callable[[], Mapping[str, bytes]],
        per_second: float | None = None,
        at_a_time: int | None = None,
    ) -> None:
        """``keys`` returns the current names with the SHA-256 of their keys; the limits are each owner's."""
        self._keys = keys
        self._limits = per_second, at_a_time
        self._limiters: dict[str, RateLimiter] = {}

    def acquire(self, scope: Scope, key: str) -> RateLimiter:
        """Put the name of the key's owner into the request's state; raises HTTPException 401 or RateExceeded.

        The limiter is to be released when the request ends.
        """
        name = self.name_of(key)
        if (limiter := self._limiters.get(name)) is None:
            limiter = self._limiters[name] = RateLimiter(*self._limits)
        limiter.acquire(asyncio.get_running_loop().time())
        scope["state"]["key"] = name
        return limiter

    def name_of(self, key: str) -> str:
        """Name of the key's owner, found in the same time for any key. Raises HTTPException 401."""
        digest = hashlib.sha256(key.encode("latin-1")).digest()
        names = [name for name, expected in self._keys().items() if hmac.compare_digest(digest, expected)]
        if not names:
            given = "This API key is not known" if key else "An API key is needed"
            detail = f"{given}; send one as 'Authorization: Bearer KEY' or '{KEY_HEADER}: KEY'."
            raise HTTPException(401, detail, _CHALLENGE)
        return names[0]


class ApiKeyMiddleware:
    """Admits requests with a valid key and puts its name into the request's state; refuses others with 401 or 429."""

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys,
        open_paths: Collection[str] = OPEN_PATHS,
        error_response: ErrorResponse = problem_response,
        has_key_in_body: Callable[[Scope], bool] = lambda _: False,
        open_methods: Collection[str] = _READING,
    ) -> None:
        """Requests for ``open_paths`` need no key if their method is one of ``open_methods``.

        A request without a key, but with one in its body, goes to its route, which must call ``SHOW_KEY``.
        """
        self._app = app
        self._keys = keys
        self._open_paths = open_paths
        self._error_response = error_response
        self._has_key_in_body = has_key_in_body
        self._open_methods = open_methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        is_open = scope["type"] != "http" or (
            scope["path"] in self._open_paths and scope["method"] in self._open_methods
        )
        if is_open:
            await self._app(scope, receive, send)
            return
        key = shown_key(Headers(scope=scope))
        if not key and self._has_key_in_body(scope):
            scope["state"][SHOW_KEY] = partial(self._keys.acquire, scope)
            await self._app(scope, receive, send)
            return
        try:
            limiter = self._keys.acquire(scope, key)
        except (HTTPException, RateExceeded) as error:
            await self._error_response(scope, error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            limiter.release()


def shown_key(headers: Headers) -> str:
    """The key in the headers, '' if there is none."""
    bearer = bearer_of(headers)
    return headers.get(KEY_HEADER, "").strip() if bearer is None else bearer


class AdminTokenMiddleware:
    """Admits requests with ``Authorization: Bearer <token>``; refuses others with 401."""

    def __init__(self, app: ASGIApp, token: str, error_response: ErrorResponse = problem_response) -> None:
        self._app = app
        self._error_response = error_response
        self._expected = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] == "http" and not self._admits(Headers(scope=scope)):
            detail = "Authorization: Bearer and the token of the administration are needed."
            error = HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
            await self._error_response(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admits(self, headers: Headers) -> bool:
        given = bearer_of(headers)
        # In constant time: otherwise the token could be guessed character by character.
        return given is not None and hmac.compare_digest(given.encode("latin-1"), self._expected)


def bearer_of(headers: Headers) -> str | None:
    """The credentials of ``Authorization: Bearer``; None if the header is missing or has another scheme."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def read_token(settings: Settings) -> str:
    """The token, from its file or the setting; raises StartupError if there is none or it is too short."""
    if settings.admin_token is not None:
        return _checked_token(settings.admin_token, "EMO_ADMIN_TOKEN")
    path = settings.admin_token_file
    if path is None:
        msg = "the administration needs a token"
        raise StartupError(msg)
    try:
        return _checked_token(read_regular(path, _MAX_TOKEN_BYTES).decode("ascii"), str(path))
    except OSError as error:
        msg = f"{path}: the token cannot be read: {error.strerror}"
        raise StartupError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: the token must be ASCII"
        raise StartupError(msg) from error


def _checked_token(text: str, source: str) -> str:
    """The token without surrounding whitespace, which a header cannot carry; raises StartupError if it is too short."""
    token = text.strip()
    if len(token) < _LEAST_CHARACTERS:
        msg = f"{source}: the token has {len(token)} characters, at least {_LEAST_CHARACTERS} are needed"
        raise StartupError(msg)
    return token
