"""Requests with images in their bodies, read as a route reads them."""

import asyncio
import base64

from starlette.types import Receive

from emo_serve.api.http.body_budget import BodyBudget, Reservation
from emo_serve.api.http.exchange import Exchange
from emo_serve.api.http.uploads import Uploads, read_uploads
from emo_serve.engine.scheduling.deadlines import Deadlines
from tests.helpers.asgi import Client, never

BOUNDARY = "frontier"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def request(body: bytes, content_type: str | None, headers: dict[str, str] | None = None, chunk: int = 7) -> Exchange:
    pairs = {**({"content-type": content_type} if content_type else {}), **(headers or {})}
    client = Client([body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""])
    return over(client.receive, pairs)


def over(receive: Receive, headers: dict[str, str]) -> Exchange:
    scope = {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    return Exchange(scope, receive, never, 1 << 30, asyncio.Event())


async def read_all(exchange: Exchange, timeout_seconds: float = 60) -> Uploads:
    """At most three images, however many bytes they have."""
    return await read_uploads(exchange, Reservation(BodyBudget(1 << 30)), 3, Deadlines(), timeout_seconds)


async def read(body: bytes, content_type: str | None, headers: dict[str, str] | None = None) -> Uploads:
    return await read_all(request(body, content_type, headers))


def multipart(*images: bytes, name: str = "file") -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n"
        for image in images
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def b64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def field(name: str, value: str, more: str = "") -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'.encode()
