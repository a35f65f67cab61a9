"""Who may ask and how often, decided by an API key before anything else of the request is looked at."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.admin_token import bearer_of
from emo_serve.api.routes.swagger_ui import ASSETS
from emo_serve.api.wire.problems import problem_for
from emo_serve.errors import RateExceeded

KEY_HEADER = "X-API-Key"
OPEN_PATHS = frozenset({"/", "/docs", *(f"/docs/{name}" for name in ASSETS), "/openapi.json", "/livez", "/readyz"})
"""What needs no key: what orchestrators ask, and the description, which tells nothing about this server."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="emo-serve"'}


class Allowance:
    """What one client may do: so many requests a second, a second's worth at once, and so many at a time."""

    def __init__(self, per_second: float | None, at_a_time: int | None) -> None:
        self._per_second = per_second
        self._at_a_time = at_a_time
        self._under_way = 0
        self._paid_until = 0.0  # the moment up to which the requests let in have used up the rate

    def enter(self, now: float) -> None:
        """Let a request in; ``now`` in seconds. Raises RateExceeded."""
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

    def leave(self) -> None:
        """A request that was let in has ended."""
        self._under_way -= 1


class KeyCheck:
    """Lets in what shows a key, and leaves its name in the request's state; refuses the rest with 401 or 429."""

    def __init__(
        self,
        app: ASGIApp,
        keys: Callable[[], Mapping[str, bytes]],
        per_second: float | None = None,
        at_a_time: int | None = None,
    ) -> None:
        """``keys`` gives the names with the SHA-256 of their keys, as they are now."""
        self._app = app
        self._keys = keys
        self._limits = per_second, at_a_time
        self._allowances: dict[str, Allowance] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            name = self._name_of(_shown_key(Headers(scope=scope)))
            if (allowance := self._allowances.get(name)) is None:
                allowance = self._allowances[name] = Allowance(*self._limits)
            allowance.enter(asyncio.get_running_loop().time())
        except (HTTPException, RateExceeded) as error:
            await problem_for(error).response()(scope, receive, send)
            return
        scope["state"]["key"] = name
        try:
            await self._app(scope, receive, send)
        finally:
            allowance.leave()

    def _name_of(self, key: str) -> str:
        """Whose key it is; takes as long for any key. Raises HTTPException 401."""
        digest = hashlib.sha256(key.encode("latin-1")).digest()
        names = [name for name, expected in self._keys().items() if hmac.compare_digest(digest, expected)]
        if not names:
            given = "This API key is not known" if key else "An API key is needed"
            detail = f"{given}; send one as 'Authorization: Bearer KEY' or '{KEY_HEADER}: KEY'."
            raise HTTPException(401, detail, _CHALLENGE)
        return names[0]


def _shown_key(headers: Headers) -> str:
    bearer = bearer_of(headers)
    return headers.get(KEY_HEADER, "").strip() if bearer is None else bearer
