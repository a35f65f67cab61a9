"""Adapters of other servers' protocols, and the layer that finds the one for a request.

An adapter translates the requests, answers and errors of one protocol; admission, keys, limits, deadlines and metrics
are those of every request. Requests of this server's own predicting routes are answered before they get here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.wire.problems import Problem, problem_for
from emo_serve.errors import InvalidParameter

_ANY = "{}"  # stands for the first part of paths where that is variable; they are looked at last, if at all
_PREDICTING = frozenset({"POST", "PUT"})  # probes ask with whatever query they like
_LONGEST = 1000  # characters of such a path: Python reads no number of more than 4300 digits


@dataclass(frozen=True, slots=True)
class Adapter:
    """One protocol: its routes, what it makes of an error, and what is its own beside its routes."""

    routes: tuple[Route, ...]
    write_error: Callable[[Problem], Response]
    prefixes: tuple[str, ...] = ()
    """Paths below which everything is the protocol's, also what there is not."""
    open_paths: frozenset[str] = frozenset()
    """Paths that need no key to be read: probes."""
    key_in_form: bool = False
    """True if a key may come as a field of a form, which the routes then check."""
    reads_query: bool = False
    """True if the routes look at the query, or what is in it is of no account; otherwise it must be empty."""


@dataclass(frozen=True, slots=True)
class Found:
    """The adapter that a request is for, and its route; without one, the methods that the path allows, if any."""

    adapter: Adapter
    route: Route | None
    path_params: Mapping[str, str]
    allowed: tuple[str, ...] = ()


class Adapters:
    """The adapters that are switched on; of two with the same route the first answers."""

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        self.all = tuple(adapters)
        self._by_segment: dict[str, list[Adapter]] = {}
        for adapter in self.all:
            paths = (*adapter.prefixes, *(route.path for route in adapter.routes))
            segments = [path.split("/")[1] for path in paths]
            for segment in dict.fromkeys(_ANY if segment.startswith("{") else segment for segment in segments):
                self._by_segment.setdefault(segment, []).append(adapter)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of all."""
        return tuple(route for adapter in self.all for route in adapter.routes)

    @property
    def open_paths(self) -> frozenset[str]:
        """The paths that need no key to be read."""
        return frozenset[str]().union(*(adapter.open_paths for adapter in self.all))

    def find(self, scope: Scope) -> Found | None:
        """The adapter and route of a request; None if no adapter is for it."""
        path = scope["path"]
        segment = path.split("/", 2)[1] if path[:1] == "/" else ""
        anyones = self._by_segment.get(_ANY, []) if len(path) <= _LONGEST else []
        owner, allowed = None, dict[str, None]()
        for adapter in (*self._by_segment.get(segment, ()), *anyones):
            if owner is not None and adapter in anyones:
                break
            is_own = any(f"{path}/".startswith(f"{prefix}/") for prefix in adapter.prefixes)
            owner = owner or (adapter if is_own else None)
            for route in adapter.routes:
                match, child = route.matches(scope)
                if match is Match.FULL:
                    return Found(adapter, route, child["path_params"])
                if match is Match.PARTIAL and is_own:
                    allowed.update(dict.fromkeys(sorted(route.methods or ())))
        return None if owner is None else Found(owner, None, {}, tuple(allowed))

    def has_key_in_body(self, scope: Scope) -> bool:
        """True if the key of a request may be a field of its form."""
        found = self.find(scope)
        return found is not None and found.route is not None and found.adapter.key_in_form

    def error_response(self, scope: Scope, error: Exception) -> Response:
        """The answer to a request that an error has ended: as its protocol has it, else a problem document."""
        found, problem = self.find(scope), problem_for(error)
        return problem.response() if found is None else found.adapter.write_error(problem)


class AdapterMiddleware:
    """Answers the requests of the adapters; what is raised is answered outside, where every error is."""

    def __init__(self, app: ASGIApp, adapters: Adapters) -> None:
        """``app`` gets what is for none of ``adapters``."""
        self._app = app
        self._adapters = adapters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        found = self._adapters.find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        if found.route is None:
            if found.allowed:
                raise HTTPException(405, headers={"Allow": ", ".join(found.allowed)})
            raise HTTPException(404, _nothing_there(scope["path"], found.adapter))
        if not found.adapter.reads_query:
            refuse_query(scope)
        scope["route"], scope["path_params"] = found.route, found.path_params
        response: Response = await found.route.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def refuse_query(scope: Scope, *known: str) -> None:
    """Raise InvalidParameter for a parameter in the query of a POST or PUT that is none of the ``known`` ones."""
    if scope["query_string"] and scope["method"] in _PREDICTING:
        for name in QueryParams(scope["query_string"]):
            if name not in known:
                allowed = f"allowed are {', '.join(known)}" if known else "the protocol has parameters elsewhere"
                msg = f"Unknown parameter {name[:100]!r} in the query: {allowed}."
                raise InvalidParameter(msg)


def _nothing_there(path: str, adapter: Adapter) -> str:
    there_are = ", ".join(f"{'/'.join(sorted(route.methods or ()))} {route.path}" for route in adapter.routes)
    return f"There is nothing at {path[:100]!r}; there are: {there_are}."
