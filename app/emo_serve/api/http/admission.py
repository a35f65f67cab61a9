"""The door: who asks, how much, until when an answer is of use, and whether the model can take it at all.

What is refused here costs a fifth of a millisecond: no parameter is checked, no body is read. Under overload most
requests are refused, so this decides how much is left for those that are answered. The route of a request that is let
in is called from here: FastAPI describes it, but has nothing to solve before it runs, and its layers would take a tenth
of the time that a request costs the event loop.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.exchange import exchange_of
from emo_serve.api.http.services import Services, services_of
from emo_serve.api.wire.problems import ANSWERED, answer_error, problem_for
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.scheduling.admission import Visit
from emo_serve.errors import ModelNotFound, ModelNotReady, ServiceError, Unavailable
from emo_serve.manifest import Task

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_TIMEOUT_HEADER = TIMEOUT_HEADER.lower().encode()

_TASKS: Mapping[str, Task] = MappingProxyType({"/classify": "classify", "/detect": "detect", "/segment": "segment"})
_WHOLE_NUMBER = re.compile(r"0*([1-9][0-9]*)")
_LONGEST_NAME = 128
_SHOWN = 100  # characters of a client's value that are repeated to it


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in."""

    services: Services
    deployment: Deployment
    """What answers it, whatever is loaded or retired meanwhile."""
    visit: Visit
    seconds: float
    """From its arrival to its deadline."""
    deadline: float
    """loop.time()"""


class Door:
    """Lets requests for a model in and answers them by their route, or refuses them."""

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        """``app`` gets what is for none of ``routes``, whose paths have no variable parts."""
        self._app = app
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange_of(scope).check_size()
        route = self._routes.get(scope["path"]) if scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        call: Call | ServiceError
        try:
            call = _enter(request)
        except (ModelNotFound, ModelNotReady) as error:
            call = error  # the route says so, if its parameters are right
        except (HTTPException, Unavailable) as error:
            await problem_for(error).response()(scope, receive, send)
            return
        scope["state"]["call"] = call
        try:
            response: Response = await route.endpoint(request)
        except ANSWERED as error:
            response = await answer_error(request, error)
        finally:
            present = scope["state"]["call"]
            if isinstance(present, Call):
                present.deployment.leave()
        await response(scope, receive, send)


def call_of(request: Request) -> Call:
    """How ``request`` was let in; raises ModelNotFound or ModelNotReady where no model takes it."""
    call = request.scope["state"]["call"]
    if isinstance(call, ModelNotFound | ModelNotReady):
        raise call
    if not isinstance(call, Call):
        raise TypeError(call)
    return call


def enter_again(request: Request) -> None:
    """Let ``request`` in by its query as it is now, where another model may be named; the one before is left.

    Raises what says that the other one does not take it.
    """
    state = request.scope["state"]
    before = state["call"]
    state["call"] = _enter(request, before.deadline if isinstance(before, Call) else None)
    if isinstance(before, Call):
        before.deployment.leave()


def _enter(request: Request, deadline: float | None = None) -> Call:
    services = services_of(request)
    scope = request.scope
    headers = exchange_of(scope).headers
    model, version = _wanted(scope["query_string"])
    deployment = services.catalog.get(_TASKS[scope["path"]], model, version)
    seconds = services.settings.request_timeout_seconds
    if _TIMEOUT_HEADER in headers:
        seconds = seconds_to_answer(request, seconds)
    if deadline is None:
        deadline = asyncio.get_running_loop().time() + seconds
    client = scope["state"].get("key") or client_of(request, services.settings.client_header)
    # Who comes back is known by its address and the length of its body, which is that of its images.
    size = headers.get(b"content-length", b"").decode("latin-1")
    visit = deployment.enter(client, f"{client} {size}", deadline)
    return Call(services, deployment, visit, seconds, deadline)


@lru_cache(maxsize=128)  # clients ask for the same again and again
def _wanted(query: bytes) -> tuple[str | None, str | None]:
    """The model and the version that a query names; whether it is right, the route finds out."""
    parameters = QueryParams(query)
    return parameters.get("model"), parameters.get("version")


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
    number = _WHOLE_NUMBER.fullmatch(values[0])
    if len(values) > 1 or number is None:
        given = ", ".join(values)[:_SHOWN]
        detail = (
            f"{TIMEOUT_HEADER}: {given!r}: allowed is one whole number of milliseconds, at least 1; "
            f"more than {most * 1000:.0f} counts as that."
        )
        raise HTTPException(400, detail)
    return min(float(number[1]) / 1000, most)  # however many digits it has
