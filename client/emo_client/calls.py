"""One call to the server without input or output: when to send, when to wait, when to give up.

The synchronous and the asynchronous client drive the same generator. A prediction changes nothing, so it may be sent
again: after a refusal that says when to come back, and after a connection that could not be made or broke. Any other
answer is final.
"""

import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from emo_client.errors import Problem, Unreachable

_BUSY = (429, 503)
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0  # seconds between attempts to connect
_LONGEST_CALL = 86_400


@dataclass(frozen=True)
class Send:
    """Send the request; the outcome is a response, or the error that there was instead."""

    method: str
    path: str
    params: Mapping[str, Any]
    content: bytes | None
    headers: Mapping[str, str]
    timeout: float


@dataclass(frozen=True)
class Wait:
    """Wait for so many seconds; there is no outcome."""

    seconds: float


Step = Send | Wait
Outcome = httpx.Response | httpx.RequestError | None


@dataclass(frozen=True)
class Limits:
    """``timeout``: seconds for a call with all its attempts; ``retries``: how many after the first."""

    timeout: float
    retries: int

    def __post_init__(self) -> None:
        """Raise ValueError for what is no number of seconds, or of attempts."""
        if not isinstance(self.timeout, int | float) or not 0 < self.timeout <= _LONGEST_CALL:
            msg = f"timeout is {self.timeout!r}; allowed are seconds, more than 0 and at most {_LONGEST_CALL}"
            raise ValueError(msg)
        if not isinstance(self.retries, int) or self.retries < 0:
            msg = f"retries is {self.retries!r}; allowed are whole numbers from 0 on"
            raise ValueError(msg)


def call(
    method: str,
    path: str,
    params: Mapping[str, Any],
    content: bytes | None,
    limits: Limits,
    clock: Callable[[], float],
) -> Generator[Step, Outcome, dict[str, Any]]:
    """Give the steps of a call; its value is the JSON object of the answer. Raises Problem or Unreachable."""
    end = clock() + limits.timeout
    for attempt in range(limits.retries + 1):
        left = max(0.001, end - clock())
        headers = {"X-Request-Timeout-Ms": str(max(1, round(left * 1000)))}
        if content is not None:
            headers["Content-Type"] = "application/octet-stream"
        outcome = yield Send(method, path, params, content, headers, left)
        if isinstance(outcome, httpx.Response):
            if outcome.is_success:
                return _json(outcome)
            failure: Exception = _problem(outcome)
            seconds = _asked_to_wait(outcome)
        else:
            failure = _unreachable(outcome)
            seconds = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT)
        if seconds is None or attempt == limits.retries or clock() + seconds >= end:
            raise failure
        yield Wait(seconds)
    raise AssertionError  # the last attempt returns or raises


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except (ValueError, RecursionError) as error:
        msg = f"{response.url}: the answer is no JSON; is it emo-serve?"
        raise Unreachable(msg) from error
    if not isinstance(document, dict):
        msg = f"{response.url}: the answer is no JSON object; is it emo-serve?"
        raise Unreachable(msg)
    return document


def _unreachable(error: httpx.RequestError | None) -> Unreachable:
    """What kept the answer away, and where it was expected from, if the error knows."""
    said = str(error) or type(error).__name__
    try:
        return Unreachable(said if error is None else f"{error.request.url}: {said}")
    except RuntimeError:  # it belongs to no request
        return Unreachable(said)


def _problem(response: httpx.Response) -> Problem:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = {}
    if response.has_redirect_location:
        document = {"detail": f"it redirects to {response.headers['Location']}: give that address instead"}
    return Problem(response.status_code, document if isinstance(document, dict) else {})


def _asked_to_wait(response: httpx.Response) -> float | None:
    """Seconds after which the request may come again; None if it may not."""
    if response.status_code not in _BUSY or "Retry-After" not in response.headers:
        return None
    try:
        seconds = float(json.loads(response.content)["retry_after_ms"]) / 1000  # the same, before it was rounded up
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        try:
            seconds = float(response.headers["Retry-After"])
        except ValueError:  # a date: our servers send none
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
