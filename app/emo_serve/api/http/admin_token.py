"""The token of the administration: who does not send it gets nothing but 401."""

import hmac

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.wire.problems import problem_for
from emo_serve.errors import StartupError
from emo_serve.settings import Settings

_LEAST_CHARACTERS = 16


class RequireToken:
    """Lets requests with ``Authorization: Bearer <token>`` through."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] == "http" and not self._admits(Headers(scope=scope)):
            detail = "Authorization: Bearer and the token of the administration are needed."
            error = HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
            await problem_for(error).response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admits(self, headers: Headers) -> bool:
        given = bearer_of(headers)
        # In constant time, or the token could be found out letter by letter.
        return given is not None and hmac.compare_digest(given.encode("latin-1"), self._expected)


def bearer_of(headers: Headers) -> str | None:
    """What is sent as ``Authorization: Bearer``; None where that header is missing or of another scheme."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def read_token(settings: Settings) -> str:
    """The token, from its file or the setting; raises StartupError where there is none worth the name."""
    if settings.admin_token is not None:
        return _worthy(settings.admin_token, "EMO_ADMIN_TOKEN")
    path = settings.admin_token_file
    if path is None:
        msg = "the administration needs a token"
        raise StartupError(msg)
    try:
        return _worthy(path.read_text(encoding="ascii"), str(path))
    except OSError as error:
        msg = f"{path}: the token cannot be read: {error.strerror}"
        raise StartupError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: the token must be ASCII"
        raise StartupError(msg) from error


def _worthy(text: str, source: str) -> str:
    """The token without the blanks around it, of which a header cannot speak."""
    token = text.strip()
    if len(token) < _LEAST_CHARACTERS:
        msg = f"{source}: the token has {len(token)} characters, at least {_LEAST_CHARACTERS} are needed"
        raise StartupError(msg)
    return token
