"""Admission: who asks, how much, until when an answer is of use, and whether the model can take it at all.

What is refused here costs a fifth of a millisecond: no parameter is checked, no body is read. Under overload most
requests are refused, so this decides how much is left for those that are answered. The route of a request that is let
in is called from here: FastAPI describes it, but has nothing to solve before it runs, and its layers would take a tenth
of the time that a request costs the event loop.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.body_budget import Reservation
from emo_serve.api.http.exchange import Exchange
from emo_serve.api.http.services import Services
from emo_serve.api.wire.problems import ANSWERED, answer_error, problem_for
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.repository.serving_config import DEFAULT
from emo_serve.engine.scheduling.job import Ticket
from emo_serve.errors import ModelNotFound, ModelNotReady, Unavailable
from emo_serve.manifest import Task

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_TIMEOUT_HEADER = TIMEOUT_HEADER.lower().encode()

_TASKS: Mapping[str, Task] = MappingProxyType({"/classify": "classify", "/detect": "detect", "/segment": "segment"})
_WHOLE_NUMBER = re.compile(r"0*([1-9][0-9]*)")
_LONGEST_NAME = 128
_SHOWN = 100  # characters of a client's value that are repeated to it


class ModelRequest(Request):
    """A request for a model and all that answering it takes; ``deployment`` raises where no model takes it.

    FastAPI sees the ``Request`` in it when it describes the routes.
    """

    deadline: float
    """loop.time(): until then its answer is of use."""
    _deployment: Deployment | None = None
    _refusal: ModelNotFound | ModelNotReady

    def __init__(
        self,
        exchange: Exchange,
        scope: Scope,
        receive: Receive,
        send: Send,
        deployment: Deployment | None = None,
        version: str | None = None,
    ) -> None:
        """Let it in to ``deployment``, found by the ``version`` that it names, else by path and query.

        If that is an alias, or nothing, another version may answer. Raises HTTPException 400 or what ``enter`` raises.
        """
        super().__init__(scope, receive, send)
        self.exchange = exchange
        self.services: Services = scope["app"].state.services
        self.reservation = Reservation(self.services.bodies)
        """Of the bytes of its body."""
        self.seconds = self.services.settings.request_timeout_seconds
        """From its arrival to its deadline."""
        self.ticket = Ticket()
        self._arrived_at = asyncio.get_running_loop().time()
        try:
            self._enter(deployment, version)
        except (ModelNotFound, ModelNotReady) as error:
            self._refusal = error  # the route says so, if its parameters are right

    @property
    def deployment(self) -> Deployment:
        """The deployment that answers it, even if retired meanwhile; raises ModelNotFound or ModelNotReady."""
        if self._deployment is None:
            raise self._refusal
        return self._deployment

    def enter_again(self) -> None:
        """Let it in by its query as it is now, where another model may be named; the one before is left.

        Raises what says that the other one does not take it.
        """
        before = self.ticket
        self._enter()
        before.leave()

    def leave(self) -> None:
        """Ask no more of what it was let in by, and release its body."""
        self.reservation.release()
        self.ticket.leave()
        self.ticket, self._deployment = Ticket(), None

    def _enter(self, deployment: Deployment | None = None, version: str | None = None) -> None:
        scope, headers = self.scope, self.exchange.headers
        if deployment is None:
            model, version = _wanted(scope["query_string"])
            deployment = self.services.catalog.get(_TASKS[scope["path"]], model, version)
        if _TIMEOUT_HEADER in headers:
            self.seconds = seconds_to_answer(self, self.services.settings.request_timeout_seconds)
        client = scope["state"].get("key") or client_of(self, self.services.settings.client_header)
        route = self.services.catalog.routes.get((deployment.manifest.name, version or DEFAULT))
        if route is not None:
            if route.is_split:
                deployment = route.choose(deployment, client, self.exchange.request_id, headers)
            route.requests[deployment.manifest.version].value += 1
        self.exchange.manifest = deployment.manifest
        # Who comes back is known by its address and the length of its body, which is that of its images.
        size = headers.get(b"content-length", b"").decode("latin-1")
        self.deadline = self._arrived_at + self.seconds
        self.ticket = deployment.enter(client, f"{client} {size}", self.deadline)
        if route is not None and route.shadow is not None:
            self.ticket.answered = route.shadow.of(deployment)
        self._deployment = deployment


class AdmissionMiddleware:
    """Admits requests for a model and answers them by their route, or refuses them."""

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        """``app`` gets what is for none of ``routes``, whose paths have no variable parts."""
        self._app = app
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = self._routes.get(scope["path"]) if scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        try:
            request = ModelRequest(scope["state"]["exchange"], scope, receive, send)
        except (HTTPException, Unavailable) as error:
            await problem_for(error).response()(scope, receive, send)
            return
        try:
            response: Response = await route.endpoint(request)
        except ANSWERED as error:
            response = await answer_error(request, error)
        finally:
            request.leave()
        await response(scope, receive, send)


@lru_cache(maxsize=128)  # clients ask for the same again and again
def _wanted(query: bytes) -> tuple[str | None, str | None]:
    """The model and the version that a query names; whether it is right, the route finds out."""
    parameters = QueryParams(query)
    return parameters.get("model"), parameters.get("version")


def client_of(request: Request, header: str | None) -> str:
    """The client, as the fair queue counts it: what the trusted ``header`` says, else the address of the connection.

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
