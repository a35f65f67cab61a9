"""Random and mutated requests of every protocol: an answer or a refusal in its shape, never a fault of the server."""

import random

import httpx
import pytest

from tests.protocols.seeds import SEEDS, Seed, is_error_of

pytestmark = pytest.mark.anyio

ROUNDS = 200
_PIECES = (b"", b"\0", b"\xff", b"{", b"[", b'"', b"null", b"-1", b"1e999", b"NaN", b'{"a":', b"[[[[", b"\\ud800", b",")
_LENGTHS = ("0", "1", "40", "99999999999999999999", "-1", "x", "")


def mutated(random_: random.Random, body: bytes) -> bytes:
    """The body with some bytes changed, removed, doubled or put in."""
    changed = bytearray(body)
    for _ in range(random_.randint(1, 4)):
        at, length = random_.randint(0, len(changed)), random_.choice((1, 2, 8, 64, 1000))
        match random_.randrange(5):
            case 0:
                changed[at : at + length] = random_.randbytes(min(length, 16))
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                changed[at:at] = random_.choice(_PIECES)
            case 4:
                changed[at : at + length] = random_.choice(_PIECES)
    return bytes(changed)


@pytest.mark.parametrize("seed", SEEDS, ids=str)
async def test_mutated_requests_are_answered_or_refused_in_the_protocols_shape(
    client: httpx.AsyncClient, seed: Seed
) -> None:
    random_ = random.Random(str(seed))
    statuses = set()
    for round_ in range(ROUNDS):
        body = random_.randbytes(random_.randint(0, 300)) if round_ % 10 == 0 else mutated(random_, seed.body)
        headers = dict(seed.headers)
        if seed.protocol == "v2" and round_ % 3 == 0:
            headers["Inference-Header-Content-Length"] = random_.choice(_LENGTHS)
        answer = await client.post(seed.path, content=body, headers=headers)
        assert answer.status_code < 500, (answer.text, body)
        assert answer.status_code == 200 or is_error_of(seed.protocol, answer), (answer.text, body)
        statuses.add(answer.status_code)
    assert len(statuses) > 1, "nothing was refused"
