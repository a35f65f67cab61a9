"""Everything that clients do to a server, good and bad, so that every series of it has something to show."""

import asyncio
import contextlib
import io
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np
import skimage.data
from PIL import Image, ImageEnhance

from tests.load.arrivals import closed_loop, open_loop, poisson
from tests.load.clients import Post

STEREO = "stereo_motorcycle"
JPEG = {"Content-Type": "image/jpeg"}


def photos(count: int, brightness: float = 1.0) -> list[bytes]:
    """So many JPEGs, cut by chance from photos of a cat, a woman, a cup, a rocket and a garage."""
    chance = random.Random(1)
    names = ("chelsea", "astronaut", "coffee", "rocket")
    left, _, _ = skimage.data.stereo_motorcycle()
    pictures = [left, *(getattr(skimage.data, name)() for name in names)]
    originals = [Image.fromarray(np.asarray(picture)) for picture in pictures]
    return [_cut(originals[number % len(originals)], chance, brightness) for number in range(count)]


def _cut(picture: Image.Image, chance: random.Random, brightness: float) -> bytes:
    width, height = (int(side * chance.uniform(0.5, 1)) for side in picture.size)
    left, top = chance.randint(0, picture.width - width), chance.randint(0, picture.height - height)
    part = picture.crop((left, top, left + width, top + height))
    file = io.BytesIO()
    ImageEnhance.Brightness(part).enhance(brightness).save(file, "JPEG", quality=85)
    return file.getvalue()


@dataclass(slots=True)
class Traffic:
    """Requests to one server, and the statuses of its answers."""

    client: httpx.AsyncClient
    host: str
    port: int
    statuses: dict[int, int] = field(default_factory=dict)

    async def ask(self, route: str, body: bytes, name: str = "somebody", **headers: str) -> int:
        """Post a body; the status, 0 where the connection failed."""
        named = JPEG | {"X-Client": name} | {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            response = await self.client.post(route, content=body, headers=named)
        except httpx.TransportError:
            status = 0
        else:
            status = response.status_code
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status

    async def steady(self, seconds: float, rate: float, pictures: Sequence[bytes]) -> None:
        """Images at moments that do not depend on the answers, ``rate`` a second, one of four to find objects in."""
        chance = random.Random(2)

        async def one(_: int) -> None:
            await self.ask("/detect" if chance.random() < 0.25 else "/classify", chance.choice(pictures))

        await open_loop(poisson(chance, rate, seconds), one)

    async def crowd(self, seconds: float, clients: int, pictures: Sequence[bytes]) -> None:
        """Clients that send again as soon as they have an answer; every second of them is in a hurry."""
        chance = random.Random(3)

        async def send(number: int) -> None:
            hurry = {"X_Request_Timeout_Ms": "60"} if number % 2 else {}
            status = await self.ask("/classify", chance.choice(pictures), f"client {number}", **hurry)
            await asyncio.sleep(0.0 if status == 200 else 0.2)

        await closed_loop(range(clients), seconds, send)

    async def mistakes(self, picture: bytes) -> None:
        """Requests that clients get wrong, and one that nobody can answer in time."""
        await self.ask("/classify", b"no image")
        await self.ask("/classify", picture[: len(picture) // 3])
        await self.ask("/detect?classes=unicorn", picture)
        await self.ask("/nothing", picture)
        await self.ask("/classify", picture, Content_Type="text/plain")
        await self.ask("/detect", picture, X_Request_Timeout_Ms="1")
        await self.client.get("/models/unicorn")
        await self.client.get("/models")

    async def leave(self, picture: bytes, times: int) -> None:
        """Clients that send all of a picture and are gone before the answer."""
        for _ in range(times):
            _, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(Post("/detect", picture).message())
            await writer.drain()
            await asyncio.sleep(0.005)  # the server begins
            writer.close()

    async def hold(self, seconds: float, announced: int, connections: int) -> None:
        """Bodies that are announced and never come: they take the room of others."""
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {announced}\r\n\r\n"
        with contextlib.ExitStack() as closing:
            for _ in range(connections):
                connection = closing.enter_context(socket.create_connection((self.host, self.port)))
                connection.sendall(head.encode())
            await asyncio.sleep(seconds)
