"""Who asks, and until when an answer is of use."""

import re

from fastapi import Request
from starlette.exceptions import HTTPException

TIMEOUT_HEADER = "X-Request-Timeout-Ms"

_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_LONGEST_NAME = 128
_SHOWN = 100  # characters of a client's value that are repeated to it


def client_of(request: Request, header: str | None) -> str:
    """The client that takes its turn: what the trusted ``header`` says, else the address of the connection.

    A proxy appends the address that it saw to what came in, so of several values only the last can be believed.
    """
    values = request.headers.getlist(header) if header else []
    named = values[-1].rpartition(",")[2].strip()[:_LONGEST_NAME] if values else ""
    return named or (request.client.host if request.client else "")


def seconds_to_answer(request: Request, most: float) -> float:
    """Seconds from the arrival of ``request`` to its deadline: what it asks for, ``most`` where that is less.

    Raises HTTPException 400, which says what is allowed.
    """
    values = request.headers.getlist(TIMEOUT_HEADER)
    if not values:
        return most
    if len(values) > 1 or not _WHOLE_NUMBER.fullmatch(values[0]) or not int(values[0]):
        given = ", ".join(values)[:_SHOWN]
        detail = (
            f"{TIMEOUT_HEADER}: {given!r}: allowed is one whole number of milliseconds, at least 1; "
            f"more than {most * 1000:.0f} counts as that."
        )
        raise HTTPException(400, detail)
    return min(int(values[0]) / 1000, most)
