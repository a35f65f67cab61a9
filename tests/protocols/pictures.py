"""Pictures for the tests of the adapters, as they travel, and what the own routes say about them."""

import base64
from typing import Any

import httpx
import numpy as np

from tests.support import encode_image, plain, quadrants

RED = encode_image(plain("red", 64, 48))
GREEN = encode_image(plain("green", 40, 40), "JPEG")
QUADRANTS = encode_image(quadrants("red", "white", "green", "blue"))
BROKEN = QUADRANTS[: len(QUADRANTS) // 2]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def own_answer(client: httpx.AsyncClient, path: str, data: bytes) -> dict[str, Any]:
    """The answer of ``/classify`` and the like about one picture."""
    answer = await client.post(path, content=data, headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def pixels(colour: tuple[int, int, int], side: int = 32) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3) of one colour."""
    return np.full((side, side, 3), colour, np.uint8)
