"""Answers that go out before the body was read reach the client all the same."""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.bodies import announced_bytes

_SECONDS = 5.0


class Lingering:
    """Reads on, and throws away, what a client still sends after its answer, for up to 5 seconds.

    To close a connection on which unread bytes arrive resets it, and a reset takes the answer with it: a client that is
    refused while it uploads would see a broken connection and never the 503, nor when to come back.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        is_read = is_held = False

        async def receive_noted() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_but_the_end(message: Message) -> None:
            nonlocal is_held
            is_held = message["type"] == "http.response.body" and not message.get("more_body", False) and not is_read
            await send({**message, "more_body": True} if is_held else message)

        await self._app(scope, receive_noted, send_but_the_end)
        if is_held:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await _discard(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_body(headers: Headers) -> bool:
    return announced_bytes(headers) > 0 or "transfer-encoding" in headers


async def _discard(receive: Receive) -> None:
    while (await receive()).get("more_body", False):  # to the end of the body, or of the client
        pass
